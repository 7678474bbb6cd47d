//! Helpers that the tests of the workspace's crates share. Without features it depends on none of them, so that each of them can use it.
//!
//! - [`Home`]: a temporary home and commands whose environment points into it.
//! - [`Daemon`]: a `keyway serve` process, its log line by line, and its end.
//! - [`Process`]: a child that does not outlive its test; [`process`] reads `/proc`.
//! - [`eventually`], [`wait_until`]: bounded waits for conditions without an event; [`wait`] has them for async tests, too.
//! - [`require`]: requirements of a test: without them the test is skipped, or fails in CI.
//! - [`FreedMemory`]: an allocator that finds copies of secrets. [`assert_causes_said_once`]: a check of chains of errors.
//! - [`Observer`]: a callback at the steps of the code under test.
//! - [`wire`] (feature `async`): a connection in memory that moves few bytes at a time.
//! - [`frame`] (feature `frame`): the frames of yamux, for scripted peers and recordings.
//! - [`http`]: requests of a client without checks of its own.
//! - [`echo`] (feature `echo`): a service of one message, and connections to it in memory; [`body`]: a body that arrives chunk by chunk.
//! - [`scripted`] (feature `scripted`): a daemon with services that a test writes.
//! - [`log`] (feature `log`): the events that the code under test emits.

#![deny(unsafe_code)]

#[cfg(feature = "echo")]
pub mod body;
mod daemon;
#[cfg(feature = "echo")]
pub mod echo;
mod errors;
#[cfg(feature = "frame")]
pub mod frame;
mod freed_memory;
mod home;
pub mod http;
#[cfg(feature = "log")]
pub mod log;
mod observer;
pub mod process;
pub mod require;
#[cfg(feature = "scripted")]
pub mod scripted;
pub mod wait;
#[cfg(feature = "async")]
pub mod wire;

pub use daemon::{Daemon, StartError};
pub use errors::assert_causes_said_once;
pub use freed_memory::FreedMemory;
pub use home::{Home, copy_executable, set_mode};
pub use observer::Observer;
pub use process::{Process, feed, text};
pub use wait::{WAIT_LIMIT, eventually, wait_until};
