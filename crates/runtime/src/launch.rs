//! Starting plugin processes, and making sure that none outlives its welcome.
//!
//! [`Spawner`] owns the thread that starts every process; [`Launched`] is what comes of it: a [`Process`], with the pidfd
//! that proves which process is meant; [`StderrLog`] keeps what it wrote to standard error.

mod environment;
mod error;
mod guardian;
mod launched;
mod pinned;
mod process;
mod spawner;
mod stderr;

pub(crate) use environment::Environment;
pub(crate) use launched::Launched;
pub(crate) use pinned::checksum;
pub(crate) use process::{EndedProcess, Process, STOP_GRACE};
pub(crate) use spawner::{LaunchSpec, Spawner};
pub(crate) use stderr::StderrLog;

pub use error::LaunchError;

/// The descriptor at which a plugin finds its end of the connection (protocol: any number above 2).
pub(crate) const PLUGIN_DESCRIPTOR: i32 = 3;
