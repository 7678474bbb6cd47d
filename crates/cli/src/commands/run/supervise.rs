//! Living with the command: signals go to it, and its end is our end. No secret comes into this process.

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

/// Starts this program once more to become the command, passes signals on to it, and ends when it ends.
///
/// Signals are caught before the child exists, so none is lost. With a controlling terminal the child stays in our
/// process group: job control and Ctrl-C then treat us as one, and what a key sent to both is not sent again. Without
/// one it gets a group of its own, so that a signal to our group reaches it once, through us.
///
/// # Errors
///
/// The system has nothing left to start a process with.
pub(super) fn supervise() -> Result<Exit, Failure> {
    let mut signals = Signals::catch().map_err(|error| failure("catch signals", &error))?;
    process::restore_core_limit();
    let child = start().map_err(|error| failure("start a process", &error))?;
    attend(child, &mut signals).map_err(|error| failure("wait for the command", &error))
}

/// Our own command line once more, with the flag that says who is who.
fn start() -> io::Result<Pid> {
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_default();
    let mut command = Command::new("/proc/self/exe");
    command.arg0(name).args(with_replace_flag(arguments));
    if File::open("/dev/tty").is_err() {
        command.process_group(0);
    }
    // The process is reaped below, together with all others that may become ours.
    Ok(Pid::from_child(&command.spawn()?))
}

/// The arguments with the flag before the `--` that the command stands behind.
fn with_replace_flag(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.collect();
    let separator = arguments.iter().position(|argument| argument == "--");
    let separator = separator.expect("the parser asks for a command behind `--`");
    arguments.insert(separator, REPLACE_FLAG.into());
    arguments
}

/// Passes signals on until the child has ended. Whatever else the kernel makes our child, as it does for process 1 of a
/// container, is reaped too.
fn attend(child: Pid, signals: &mut Signals) -> io::Result<Exit> {
    loop {
        let arrived = signals.next()?;
        if arrived.signal == Signal::CHILD {
            if let Some(exit) = reap(child)? {
                return Ok(exit);
            }
            continue;
        }
        let already_there = arrived.by_terminal && getpgid(Some(child)) == Ok(getpgrp());
        if !already_there {
            forward(child, arrived.signal)?;
        }
    }
}

/// Passes a signal on. The child is not reaped yet, so its id is its own even when it has just ended.
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

/// How the child ended, if it has. Takes all children that have ended: one signal may stand for several.
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
        format_args!("the system does not let us {what}: {error}"),
        "Check the limits of this user and of this process",
    )
}
