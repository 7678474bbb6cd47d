//! The result of a replay: the exchanges with the live peer, or the first deviation.

use std::fmt;

use crate::conversation::Call;
use crate::cut::Cut;
use crate::http::Message;

/// One call of the recording, and the message of the live peer in it.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// The call as it was recorded.
    pub recorded: Call,
    /// The message of the live peer: the request if it opened the stream, else the response.
    pub live: Message,
}

/// The transcript of a complete replay.
#[derive(Debug)]
pub struct Transcript {
    /// The live peer's part of the upgrade, if there was one.
    pub upgrade: Option<Message>,
    /// All calls, in the order in which the live peer's messages were complete.
    pub exchanges: Vec<Exchange>,
    /// `true` if the live peer sent GoAway(0).
    pub sent_go_away: bool,
    /// The number of pings of the live peer.
    pub pings: usize,
}

impl Transcript {
    /// Returns the `nth` exchange at a path.
    pub fn at(&self, path: &str, nth: usize) -> Option<&Exchange> {
        let found = self.exchanges.iter();
        found.filter(|e| e.recorded.request.path() == path).nth(nth)
    }
}

/// The first deviation of a live peer from the recording.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Deviation {
    pub(super) recording: String,
    pub(super) cut: Cut,
    /// The next step of the script.
    pub(super) at: String,
    pub(super) reason: String,
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            recording,
            cut,
            at,
            reason,
        } = self;
        write!(f, "{recording} ({cut}) deviated before {at}: {reason}")
    }
}
