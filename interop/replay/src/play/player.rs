//! The configuration of a replay.

use std::fmt;
use std::os::unix::net::UnixStream;

use keyway_test_support::frame::Flags;

use super::playback::Playback;
use super::transcript::{Deviation, Exchange, Transcript};
use crate::conversation::{Call, Conversation};
use crate::cut::Cut;
use crate::http::Message;
use crate::recording::{Recording, Side};
use crate::script::Script;

type Watch = Box<dyn Fn(&Exchange) + Send>;
type Same = Box<dyn Fn(&Call, &Message) -> bool + Send>;
type Optional = Box<dyn Fn(&Call) -> bool + Send>;

/// Replays one side of a recording to a live peer over a socket.
pub struct Player {
    pub(super) name: String,
    pub(super) side: Side,
    pub(super) script: Script,
    pub(super) upgrade: Option<Vec<u8>>,
    pub(super) cut: Cut,
    pub(super) same: Same,
    pub(super) optional: Optional,
    pub(super) watch: Watch,
    pub(super) eager: bool,
    /// `true` if the recorded peer closed the connection first.
    pub(super) peer_closes: bool,
}

impl fmt::Debug for Player {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Player");
        out.field("name", &self.name)
            .field("side", &self.side)
            .finish_non_exhaustive()
    }
}

impl Player {
    /// Creates a player of `side` of a plugin connection.
    ///
    /// # Errors
    ///
    /// Returns [`ConversationError`](crate::ConversationError) if the recording is not a valid conversation.
    pub fn new(recording: &Recording, side: Side) -> Result<Self, crate::ConversationError> {
        let conversation: Conversation = recording.conversation()?;
        let script = Script::of(side, &conversation)?;
        let first = conversation.events.first();
        let peer_closes = first.is_some_and(|(ended, _)| *ended == side.peer());
        let upgrade = conversation.upgrade.map(|(request, response)| match side {
            Side::Plugin => request,
            _ => response,
        });
        Ok(Self {
            name: recording.name.clone(),
            side,
            script,
            upgrade,
            cut: Cut::Whole,
            same: Box::new(
                |call, live| matches!((call.request.body(), live.body()), (Ok(recorded), Ok(live)) if recorded == live),
            ),
            optional: Box::new(|_| false),
            watch: Box::new(|_| {}),
            eager: false,
            peer_closes,
        })
    }

    /// Sets the pieces in which the bytes are sent. Default: each write as a whole.
    #[must_use]
    pub fn cut(mut self, cut: Cut) -> Self {
        self.cut = cut;
        self
    }

    /// Sets the comparison of a live request with the recorded one. Default: equal bodies.
    #[must_use]
    pub fn same(mut self, same: impl Fn(&Call, &Message) -> bool + Send + 'static) -> Self {
        self.same = Box::new(same);
        self
    }

    /// Sets which recorded calls the live peer need not make. Default: none.
    #[must_use]
    pub fn optional(mut self, optional: impl Fn(&Call) -> bool + Send + 'static) -> Self {
        self.optional = Box::new(optional);
        self
    }

    /// Sets a callback for each exchange, called as soon as the live peer's message is complete.
    #[must_use]
    pub fn watch(mut self, watch: impl Fn(&Exchange) + Send + 'static) -> Self {
        self.watch = Box::new(watch);
        self
    }

    /// Prepends this upgrade request to a recording without one.
    #[must_use]
    pub fn with_upgrade(mut self, upgrade: Vec<u8>) -> Self {
        self.upgrade = Some(upgrade);
        self
    }

    /// Sends the first call at once, in the same write as the response to the upgrade, instead of after the registration. Only for
    /// the side of a runtime.
    #[must_use]
    pub fn eager(mut self) -> Self {
        let first = self
            .script
            .calls
            .iter()
            .find(|call| call.opener == self.side);
        if let Some(stream) = first.map(|call| call.stream) {
            let mut done = false;
            let (mut front, rest): (Vec<_>, Vec<_>) =
                self.script.steps.drain(..).partition(|step| {
                    done |= step.frame.header.stream_id == stream && step.frame.has(Flags::FIN);
                    step.frame.header.stream_id == stream && !done
                });
            front.iter_mut().for_each(|step| step.after.clear());
            front.extend(rest);
            self.script.steps = front;
        }
        self.eager = true;
        self
    }

    /// Replays until every frame was sent, every call made, every stream closed by the live peer, and the connection has ended.
    ///
    /// # Errors
    ///
    /// Returns [`Deviation`] if the live peer violates a rule of the recorded one, makes other calls than the recorded peer, or stops.
    pub fn play(self, socket: UnixStream) -> Result<Transcript, Deviation> {
        Playback::new(self, socket).play()
    }
}
