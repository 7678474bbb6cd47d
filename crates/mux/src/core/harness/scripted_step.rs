//! The scripts that random tests and fuzz targets play on a pair.

use std::time::Duration;

use crate::config::Config;

/// A script: the configuration of both ends, and its steps.
#[derive(Clone, Debug)]
#[cfg_attr(fuzzing, derive(arbitrary::Arbitrary))]
pub struct Script {
    /// The limits of the client.
    pub client: Limits,
    /// The limits of the server.
    pub server: Limits,
    /// The steps, in this order.
    pub steps: Vec<ScriptedStep>,
}

/// The limits of one end, small enough to be reached.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(fuzzing, derive(arbitrary::Arbitrary))]
pub struct Limits {
    /// The size of the accept queue; 0 leaves the default.
    pub accept_queue: u8,
    /// The number of streams that may be unacknowledged; 0 leaves the default.
    pub unacknowledged: u8,
    /// The number of streams of the session; 0 leaves the default.
    pub streams: u8,
    /// The size of the send queue in bytes; 0 leaves the default.
    pub send_queue: u16,
    /// The growth of all windows together, in KiB.
    pub growth: u16,
}

impl Limits {
    /// The configuration. Its timeouts are longer than any script lasts.
    pub(crate) fn config(self) -> Config {
        let mut config = Config::new()
            .close_timeout(Duration::from_secs(1_000_000))
            .drain_timeout(Duration::from_secs(1_000_000))
            .max_window_growth(usize::from(self.growth) * 1024);
        if self.accept_queue > 0 {
            config = config.accept_backlog(usize::from(self.accept_queue));
        }
        if self.unacknowledged > 0 {
            config = config.max_unacknowledged(usize::from(self.unacknowledged));
        }
        if self.streams > 0 {
            config = config.max_streams(usize::from(self.streams));
        }
        if self.send_queue > 0 {
            config = config.send_queue(usize::from(self.send_queue));
        }
        config
    }

    /// Returns `true` if a stream may be refused because of them.
    pub(crate) const fn may_refuse(self) -> bool {
        self.accept_queue > 0 || self.streams > 0
    }
}

/// One step of a script. Numbers choose among the existing streams.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(fuzzing, derive(arbitrary::Arbitrary))]
pub enum ScriptedStep {
    /// One end opens a stream.
    Open {
        /// `true` if the client does it, here and below.
        client: bool,
    },
    /// One end accepts a stream.
    Accept {
        /// See [`ScriptedStep::Open`].
        client: bool,
    },
    /// One end sends the pending SYN of a stream, if there is one.
    SendSyn {
        /// See [`ScriptedStep::Open`].
        client: bool,
        /// The index among the streams of this end, here and below.
        stream: u8,
    },
    /// One end writes once.
    Write {
        /// See [`ScriptedStep::Open`].
        client: bool,
        /// See [`ScriptedStep::SendSyn`].
        stream: u8,
        /// The number of bytes, at least one.
        length: u16,
    },
    /// One end reads bytes that have arrived.
    Read {
        /// See [`ScriptedStep::Open`].
        client: bool,
        /// See [`ScriptedStep::SendSyn`].
        stream: u8,
        /// The largest number of bytes, at least one.
        limit: u16,
    },
    /// One end ends its write side.
    Finish {
        /// See [`ScriptedStep::Open`].
        client: bool,
        /// See [`ScriptedStep::SendSyn`].
        stream: u8,
    },
    /// One end resets a stream.
    Reset {
        /// See [`ScriptedStep::Open`].
        client: bool,
        /// See [`ScriptedStep::SendSyn`].
        stream: u8,
    },
    /// One end drops a stream.
    Drop {
        /// See [`ScriptedStep::Open`].
        client: bool,
        /// See [`ScriptedStep::SendSyn`].
        stream: u8,
    },
    /// One end sends GoAway(0).
    GoAway {
        /// See [`ScriptedStep::Open`].
        client: bool,
    },
    /// One end closes its session.
    Close {
        /// See [`ScriptedStep::Open`].
        client: bool,
    },
    /// The wire moves bytes.
    Move {
        /// The number of bytes that it holds in each direction, at least one.
        capacity: u16,
        /// The number of bytes that arrive at a time, at least one.
        chunk: u16,
        /// The number of moves.
        rounds: u8,
    },
    /// Everything that was sent arrives, then time passes.
    Wait {
        /// The time in milliseconds.
        millis: u16,
    },
}
