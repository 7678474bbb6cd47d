//! `--mask`: replaces the values of secrets in what the command writes to stdout and stderr.
//!
//! The process that resolved the references stays, because it knows the values, and starts the command as its child. The command
//! writes into a pipe, or into a terminal of its own if `run` has one there.

mod channel;
mod filter;
mod relay;
mod streams;
mod terminal;

use std::io;
use std::process::Command;

use rustix::process::getpid;

use self::relay::Relay;
use self::streams::Streams;
use super::files::Guard;
use super::replace;
use super::supervise::{self, Inherited, Supervisor};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;
use crate::reference::resolve;
use crate::sys::{self, SignalQueue, SignalSet};

/// The values to replace.
pub(super) struct Mask(filter::Values);

impl Mask {
    /// Creates a mask, and notes which values are too short for it. Returns `None` if there is nothing to replace.
    pub(super) fn new(values: &resolve::Values) -> Option<Self> {
        for (pattern, value) in values {
            if filter::trimmed(value).len() < filter::MIN_LEN {
                let min_len = filter::MIN_LEN;
                output::note(format_args!(
                    "the value of {pattern} has fewer than {min_len} bytes, so --mask does not replace it"
                ));
            }
        }
        filter::Values::new(values.values()).map(Self)
    }

    /// Runs the command in a child process and copies what it writes. Returns in this process when the command has ended, and
    /// in the child only on failure. This process must have one thread.
    pub(super) fn run(
        &self,
        command: Command,
        inherited: Inherited,
        guard: Option<Guard>,
    ) -> Result<Exit, Failure> {
        let failure = |error: io::Error| supervise::failure("mask the output", &error);
        let waited = supervise::waited_signals();
        sys::set_blocked(waited).map_err(failure)?;
        let signals = SignalQueue::new(waited).map_err(failure)?;
        let streams = Streams::open().map_err(failure)?;
        let parent = getpid();
        match sys::fork().map_err(failure)? {
            None => {
                supervise::end_with(parent).map_err(failure)?;
                streams.become_child().map_err(failure)?;
                Err(replace::replace(command, inherited))
            }
            Some(child) => {
                drop((command, guard));
                // Values in the memory of this process are as secret as those in the daemon's.
                crate::process::forbid_inspection()?;
                let relay = Relay::new(&self.0, streams, signals, child).map_err(failure)?;
                let mut supervisor = Supervisor::new(child, relay);
                let exit = supervisor.run().map_err(failure)?;
                let mut relay = supervisor.into_host();
                if relay.drain().map_err(failure)? {
                    linger(relay);
                }
                Ok(exit)
            }
        }
    }
}

/// Leaves a copy of this process behind, for programs that the command has left behind and that write to the same pipe.
fn linger(mut relay: Relay<'_>) {
    // Without another process their output ends here.
    if let Ok(None) = sys::fork() {
        let _ = sys::set_blocked(SignalSet::EMPTY);
        let _ = relay.copy_all();
        sys::end_copy();
    }
}
