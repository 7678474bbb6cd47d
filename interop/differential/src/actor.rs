//! What an engine has to play: one end of a session, as an application uses it.

use std::{future::Future, pin::Pin};

use crate::{outcome::Outcome, script::Pace};

/// What an actor is asked to do. Streams go by their ids on the wire. The acts of one direction of
/// one stream come one after the other; everything else may come at the same time.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// Begin to accept streams, and go on.
    Accepting,
    /// Open a stream; the id comes back in [`Performed`].
    Open {
        /// Whether the other end must learn of it at once.
        flush: bool,
    },
    /// Wait until this stream of the other end was accepted.
    Accept(u32),
    /// Write the next bytes.
    Write(u32, usize),
    /// Read the next bytes.
    Read(u32, usize, Pace),
    /// Read up to the end.
    ReadEnd(u32, Pace),
    /// End the write side.
    Finish(u32),
    /// Reset the stream.
    Reset(u32),
    /// Let go of the stream.
    Drop(u32),
    /// Open a stream, and wait for it to be refused.
    OpenRefused,
    /// Tell the other end to open no more streams.
    GoAway,
    /// Close the session and wait until that is done.
    Close,
    /// Wait for the end of the session; [`Saw::Done`](crate::outcome::Saw::Done) if it was clean.
    Ended,
    /// Wait until accepting has come to its end, which it must after the session.
    NoMoreStreams,
    /// Count the open streams, in [`Outcome::bytes`].
    OpenStreams,
}

/// What came of an act.
#[derive(Clone, Debug)]
pub struct Performed {
    /// What the application saw.
    pub outcome: Outcome,
    /// The id of a stream that was opened.
    pub stream: Option<u32>,
}

impl From<Outcome> for Performed {
    fn from(outcome: Outcome) -> Self {
        Self {
            outcome,
            stream: None,
        }
    }
}

/// The future of an act.
pub type Performing<'a> = Pin<Box<dyn Future<Output = Performed> + Send + 'a>>;

/// One end of a session on some engine. Dropping it ends everything that it runs.
pub trait Actor: Send + Sync + 'static {
    /// Does something and says what came of it.
    fn perform(&self, act: Act) -> Performing<'_>;
}
