//! Starting plugin processes, and making sure that each one ends.
//!
//! [`Launched::start`] opens, checks and hashes an executable on a blocking thread; [`Spawner`] owns the thread that forks and
//! reaps every process; the result is a [`Process`], held by its pidfd. [`OutputLog`] keeps its output.

use std::time::Duration;

mod bound;
mod checksum;
mod environment;
mod error;
mod executable;
mod guardian;
mod launched;
mod memory;
mod orphans;
mod output;
mod process;
mod program;
mod script;
mod spawner;
mod spec;

pub(crate) use checksum::{Checksum, checksum};
pub(crate) use environment::Environment;
pub(crate) use error::{LaunchErrorClass, Shortage};
pub(crate) use launched::Launched;
pub(crate) use orphans::adopt_orphans;
pub(crate) use output::OutputLog;
pub(crate) use process::{EndedProcess, Process, STOP_GRACE};
pub(crate) use spawner::Spawner;
pub(crate) use spec::LaunchSpec;

pub(crate) use crate::sys::child::PLUGIN_DESCRIPTOR;

pub use error::{LaunchError, Refusal};
pub use spec::PinnedBy;

/// Limit for reading, checking, copying and executing a file. It does not count against the time that the plugin has to
/// register.
pub(crate) const LAUNCH_BOUND: Duration = Duration::from_secs(10);
