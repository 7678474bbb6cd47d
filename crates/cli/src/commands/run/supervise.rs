//! Supervises the command: forwards signals to it and exits with its code. This process never holds a secret.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpgid, getpgrp, kill_process, wait};

use super::REPLACE_FLAG;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::signals::Signals;
use crate::{output, process};

/// Starts this program again with [`REPLACE_FLAG`], forwards signals to it, and returns its exit code.
///
/// Signals are caught before the child is started, so none is lost. With a controlling terminal the child stays in the
/// process group of this process: job control and Ctrl-C apply to both, and a signal of a key is not forwarded. Without
/// one the child gets its own group, so that a signal to this group reaches it once, through this process.
///
/// # Errors
///
/// Returns a [`Failure`] if signals cannot be caught or the child cannot be started.
pub(super) fn supervise() -> Result<Exit, Failure> {
    let mut signals = Signals::catch().map_err(|error| failure("catch signals", &error))?;
    process::restore_core_limit();
    let child = start().map_err(|error| failure("start a process", &error))?;
    forward_until_exit(child, &mut signals).map_err(|error| failure("wait for the command", &error))
}

/// Starts the child with the arguments of this process and [`REPLACE_FLAG`].
fn start() -> io::Result<Pid> {
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_default();
    let mut command = Command::new("/proc/self/exe");
    command.arg0(name).args(with_replace_flag(arguments));
    if File::open("/dev/tty").is_err() {
        command.process_group(0);
    }
    // The child is reaped below, together with orphans that this process inherits.
    Ok(Pid::from_child(&command.spawn()?))
}

/// Inserts the flag before the `--` that precedes the command.
fn with_replace_flag(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.collect();
    let separator = arguments.iter().position(|argument| argument == "--");
    let separator = separator.expect("the parser requires a command after `--`");
    arguments.insert(separator, REPLACE_FLAG.into());
    arguments
}

/// Forwards signals until the child has exited. Also reaps orphans, which process 1 of a container inherits.
fn forward_until_exit(child: Pid, signals: &mut Signals) -> io::Result<Exit> {
    loop {
        let received = signals.next()?;
        if received.signal == Signal::CHILD {
            if let Some(exit) = reap(child)? {
                return Ok(exit);
            }
            continue;
        }
        let is_delivered = received.is_from_terminal && getpgid(Some(child)) == Ok(getpgrp());
        if !is_delivered {
            forward(child, received.signal)?;
        }
    }
}

/// Forwards a signal. The child is not reaped yet, so its pid cannot have been reused.
fn forward(child: Pid, signal: Signal) -> io::Result<()> {
    match kill_process(child, signal) {
        Err(Errno::PERM) => {
            let number = signal.as_raw();
            output::note(format_args!(
                "signal {number} does not reach the command: it runs as another user"
            ));
            Ok(())
        }
        other => Ok(other?),
    }
}

/// Reaps all exited children, because one SIGCHLD may represent several, and returns the exit code of `child` if it is
/// among them.
fn reap(child: Pid) -> io::Result<Option<Exit>> {
    let mut exit = None;
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == child => exit = exit_of(status).or(exit),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) | Err(Errno::CHILD) => return Ok(exit),
            Err(error) => return Err(error.into()),
        }
    }
}

fn exit_of(status: WaitStatus) -> Option<Exit> {
    let code = status.exit_status();
    let number = status.terminating_signal().map(|signal| 128 + signal);
    let code = u8::try_from(code.or(number)?).unwrap_or(u8::MAX);
    Some(Exit::Child(code))
}

fn failure(what: &str, error: &io::Error) -> Failure {
    Failure::error(
        format_args!("cannot {what}: {error}"),
        "Check the limits of this user and of this process",
    )
}
