//! The trait of one end of a session, as an application uses it.

use std::{future::Future, pin::Pin};

use crate::{outcome::Outcome, script::Pace};

/// An operation of an actor. Streams are named by their ids on the wire. The acts of one direction of one stream are
/// sequential; all others may be concurrent.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// Begin to accept streams, without end.
    Accepting,
    /// Open a stream; the id comes back in [`Performed`].
    Open {
        /// `true` if SYN must be sent at once.
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
    /// Drop the stream.
    Drop(u32),
    /// Open a stream, and wait for it to be refused.
    OpenRefused,
    /// Send GoAway.
    GoAway,
    /// Close the session and wait until that is done.
    Close,
    /// Wait for the end of the session; [`Saw::Done`](crate::outcome::Saw::Done) if it was clean.
    Ended,
    /// Wait until accepting has ended, which must follow the end of the session.
    NoMoreStreams,
    /// Count the open streams, in [`Outcome::bytes`].
    OpenStreams,
}

/// The result of an act.
#[derive(Clone, Debug)]
pub struct Performed {
    /// The observation of the application.
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

/// One end of a session. Dropping it ends its tasks.
pub trait Actor: Send + Sync + 'static {
    /// Performs an act and returns its result.
    fn perform(&self, act: Act) -> Performing<'_>;
}
