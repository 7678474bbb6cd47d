//! The faults of a plugin with a script, on its connection and its standard error, when it is called.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A fault of a plugin at a call. All but the last three are followed by the orderly response. A flood (of streams, pings or
/// lines) happens once in the life of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    clippy::exhaustive_enums,
    reason = "a list for tests of this workspace"
)]
pub enum Fault {
    /// Responds after this time.
    Delay(Duration),
    /// Opens this many streams at once, sends a byte on each, and resets them.
    OpenStreams(usize),
    /// Sends this many pings at once. A launched plugin only.
    Ping(usize),
    /// Writes this many bytes to standard error, in lines.
    WriteStderr(usize),
    /// Writes bytes that are not frames to its connection. A launched plugin only.
    SendGarbage,
    /// Shuts its connection down after this part of the response was sent. A launched plugin only.
    CutConnection(Progress),
    /// Resets the stream after half of the response.
    ResetStream,
}

/// The part of a response that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    clippy::exhaustive_enums,
    reason = "a list for tests of this workspace"
)]
pub enum Progress {
    /// Nothing.
    Nothing,
    /// The head and half of the body.
    Half,
}
