//! Scripts: operations of two applications on one session.

use std::fmt;

use crate::class::Class;

/// One end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// The client, whose streams have odd ids.
    Client,
    /// The server.
    Server,
}

impl End {
    /// Both ends.
    pub const BOTH: [Self; 2] = [Self::Client, Self::Server];

    /// 0 for the client, 1 for the server.
    pub fn index(self) -> usize {
        match self {
            Self::Client => 0,
            Self::Server => 1,
        }
    }

    /// The end on the other side.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Server => "server",
        })
    }
}

/// The speed of a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As fast as it can.
    Fast,
    /// So many bytes at most, then a pause of so many milliseconds.
    Slow {
        /// The most that one read takes.
        chunk: usize,
        /// The pause after it, in milliseconds.
        pause: u64,
    },
}

/// The action of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Begins to accept the streams of the other end, without end.
    Accepting,
    /// Opens the stream. Without `flush` SYN may be sent with the first bytes.
    Open {
        /// `true` if SYN must be sent at once.
        flush: bool,
    },
    /// Waits until the stream of the other end has been accepted.
    Accept,
    /// Writes so many bytes.
    Write(usize),
    /// Reads so many bytes, or fewer if the stream ends before.
    Read(usize, Pace),
    /// Reads everything up to the end.
    ReadEnd(Pace),
    /// Ends the write side.
    Finish,
    /// Ends both directions at once.
    Reset,
    /// Drops the stream.
    Drop,
    /// Opens a stream that the other end does not accept, and waits for the refusal.
    OpenRefused,
    /// Sends GoAway.
    GoAway,
    /// Closes the session at once or soon, with streams in use.
    Close,
    /// Closes the session once its streams have come to their end.
    Drain,
    /// Closes the session, and the connection after all sent data.
    HangUp,
}

/// The event that an operation waits for besides its own stream: the end that opens or accepts it, and
/// the operation before it in the same direction. Resetting and dropping wait for everything
/// that the same end does with the stream before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Nothing else.
    Own,
    /// Everything before it on this stream, at both ends.
    Stream,
    /// Everything before it, but not that the session is closed.
    Others,
    /// Everything before it, but one close does not wait for the other.
    All,
}

/// One operation of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    /// The end that performs it.
    pub end: End,
    /// The stream of the script; `None` for operations on the session.
    pub stream: Option<usize>,
    /// The action.
    pub step: Step,
    /// The operations that it follows.
    pub wait: Wait,
}

/// The directions of a stream that an end works on one after the other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lane {
    Reading,
    Writing,
    Both,
}

impl Op {
    fn lane(&self) -> Lane {
        match self.step {
            Step::Read(..) | Step::ReadEnd(_) => Lane::Reading,
            Step::Write(_) | Step::Finish => Lane::Writing,
            _ => Lane::Both,
        }
    }

    fn closes(&self) -> bool {
        matches!(self.step, Step::Close | Step::Drain | Step::HangUp)
    }

    /// Returns `true` if this operation has to wait for an earlier one.
    pub fn follows(&self, earlier: &Self) -> bool {
        match self.wait {
            // Both ends may close at the same time.
            Wait::All => return self.step != Step::Close || earlier.step != Step::Close,
            Wait::Others => return !earlier.closes(),
            Wait::Stream if self.stream == earlier.stream => return true,
            Wait::Stream | Wait::Own => {}
        }
        if self.stream.is_none() || self.stream != earlier.stream {
            return false;
        }
        if self.step == Step::Accept {
            // The id of the stream must be known.
            return matches!(earlier.step, Step::Open { .. });
        }
        let (mine, other) = (self.lane(), earlier.lane());
        self.end == earlier.end && (mine == other || mine == Lane::Both || other == Lane::Both)
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.end)?;
        if let Some(stream) = self.stream {
            write!(f, " #{stream}")?;
        }
        let pace = |f: &mut fmt::Formatter<'_>, pace| match pace {
            Pace::Fast => Ok(()),
            Pace::Slow { chunk, pause } => write!(f, ", {chunk} each {pause} ms"),
        };
        match self.step {
            Step::Accepting => write!(f, " begins to accept"),
            Step::Open { flush: true } => write!(f, " opens and flushes"),
            Step::Open { flush: false } => write!(f, " opens"),
            Step::Accept => write!(f, " accepts"),
            Step::Write(bytes) => write!(f, " writes {bytes}"),
            Step::Read(bytes, how) => write!(f, " reads {bytes}").and_then(|()| pace(f, how)),
            Step::ReadEnd(how) => write!(f, " reads to the end").and_then(|()| pace(f, how)),
            Step::Finish => write!(f, " finishes"),
            Step::Reset => write!(f, " resets"),
            Step::Drop => write!(f, " drops"),
            Step::OpenRefused => write!(f, " opens and is refused"),
            Step::GoAway => write!(f, " sends GoAway"),
            Step::Close => write!(f, " closes the session"),
            Step::Drain => write!(f, " drains and closes the session"),
            Step::HangUp => write!(f, " closes the session and hangs up"),
        }?;
        match self.wait {
            Wait::Own => Ok(()),
            Wait::Stream => write!(f, " (after all of #{})", self.stream.unwrap_or_default()),
            Wait::Others => write!(f, " (after everything but the close)"),
            Wait::All => write!(f, " (after everything)"),
        }
    }
}

/// The settings of both ends and of the connection between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Streams that wait to be accepted, at the client and at the server.
    pub accept_queue: [usize; 2],
    /// Milliseconds between two keep-alive pings.
    pub keep_alive: u64,
    /// The largest receive window of a stream.
    pub window: u32,
    /// The time for which a close waits for open streams, in milliseconds, if the implementation waits at all.
    pub drain: u64,
    /// Number of bytes that the connection holds, if it is in memory.
    pub capacity: usize,
    /// Number of bytes that move at a time, if it is in memory.
    pub chunk: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            accept_queue: [256; 2],
            keep_alive: 30_000,
            window: 256 * 1024,
            drain: 20_000,
            capacity: 1 << 18,
            chunk: 1 << 16,
        }
    }
}

/// The operations of two applications on one session, and the settings of the session.
#[derive(Clone, Debug)]
pub struct Script {
    /// The class of the script.
    pub class: Class,
    /// The seed that it was generated from.
    pub seed: u64,
    /// The settings of the session.
    pub settings: Settings,
    /// The operations. Their order is one in which they can be done one by one (a large write
    /// together with the reads that follow it); they are done as early as [`Op::follows`] lets them.
    pub ops: Vec<Op>,
}
