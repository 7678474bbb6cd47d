//! Supervises the command: forwards signals to it and exits with its code. This process never holds a secret.

use std::fs::File;
use std::io;

use libc::{SIGCHLD, SIGCONT, SIGINT, SIGPIPE, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU, SIGWINCH};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpid, getppid, set_parent_process_death_signal,
    setpgid, wait,
};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;
use crate::sys::{self, ReceivedSignal, SignalSet};

/// The processes of `keyway run` after [`fork`].
pub(super) enum Role {
    /// The command has ended with this code.
    Supervisor(Exit),
    /// This process is to become the command.
    Command(Inherited),
}

/// The signal state that this program was started with, and that the command gets.
pub(super) struct Inherited {
    pub(super) blocked: SignalSet,
    /// Those of SIGPIPE and SIGCHLD, which this program changes, that were ignored.
    pub(super) ignored: Vec<i32>,
}

/// Forks. The child returns at once, and the parent forwards every signal to it until it has ended.
///
/// Signals are blocked before the fork, so none is lost. With a controlling terminal the child stays in the process group of
/// this process: job control and Ctrl-C apply to both, and a signal of a key is not forwarded. Without one the child gets
/// its own group, so that a signal to this group reaches it once, through this process.
///
/// # Errors
///
/// Returns a [`Failure`] if signals cannot be blocked or waited for, or if the process cannot be forked.
pub(super) fn fork() -> Result<Role, Failure> {
    let changed = [
        (SIGPIPE, sys::ignored_sigpipe_at_start()),
        (SIGCHLD, sys::is_ignored(SIGCHLD)),
    ];
    let ignored = changed.into_iter().filter(|(_, is_ignored)| *is_ignored);
    let waited = waited_signals();
    let inherited = Inherited {
        ignored: ignored.map(|(number, _)| number).collect(),
        blocked: sys::set_blocked(waited).map_err(|error| failure("block signals", &error))?,
    };
    // The kernel reaps the children of a process that ignores SIGCHLD, and their status is lost.
    sys::reset(SIGCHLD).map_err(|error| failure("catch SIGCHLD", &error))?;
    let has_terminal = File::open("/dev/tty").is_ok();
    let parent = getpid();
    match sys::fork().map_err(|error| failure("start a process", &error))? {
        None => {
            become_child(parent, has_terminal).map_err(|error| failure("start", &error))?;
            Ok(Role::Command(inherited))
        }
        Some(child) => {
            let mut supervisor = Supervisor {
                child,
                has_terminal,
                is_stopped: false,
            };
            let exit = supervisor.run(waited);
            let exit = exit.map_err(|error| failure("wait for the command", &error))?;
            Ok(Role::Supervisor(exit))
        }
    }
}

/// Returns all signals but those that were ignored at the start, such as SIGHUP under `nohup`, which stay ignored. SIGKILL
/// and SIGSTOP cannot be blocked. A fault of this process ends it although its signal is blocked.
fn waited_signals() -> SignalSet {
    SignalSet::of(|number| match number {
        SIGCHLD => true,
        // `std` ignores it.
        SIGPIPE => !sys::ignored_sigpipe_at_start(),
        number => !sys::is_ignored(number),
    })
}

/// Prepares the child, which must not outlive its parent: not while it waits for a provider, and not as the command.
fn become_child(parent: Pid, has_terminal: bool) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid() != Some(parent) {
        return Err(io::Error::other("the process that waits for it has ended"));
    }
    if !has_terminal {
        setpgid(None, None)?;
    }
    sys::set_blocked(SignalSet::EMPTY)?;
    Ok(())
}

struct Supervisor {
    child: Pid,
    has_terminal: bool,
    /// Whether the child is stopped.
    is_stopped: bool,
}

impl Supervisor {
    /// Forwards signals until the child has ended. Also reaps orphans, which process 1 of a container inherits.
    fn run(&mut self, waited: SignalSet) -> io::Result<Exit> {
        loop {
            let signal = sys::wait_for(waited)?;
            if let Some(exit) = self.reap()? {
                return Ok(exit);
            }
            if signal.number != SIGCHLD && !self.is_delivered(signal) {
                self.forward(signal.number)?;
            }
        }
    }

    /// Returns `true` if the child has received the signal as well.
    fn is_delivered(&self, signal: ReceivedSignal) -> bool {
        let is_in_group = || sys::process_group(self.child) == sys::own_process_group();
        match signal.number {
            SIGINT | SIGQUIT | SIGTSTP | SIGTTIN | SIGTTOU | SIGWINCH => {
                signal.is_from_kernel && is_in_group()
            }
            // The shell's `fg` and `bg` continue the whole group, and a child that runs needs no signal.
            SIGCONT => !self.is_stopped && is_in_group(),
            _ => false,
        }
    }

    /// Forwards a signal. The child is not reaped yet, so its pid cannot have been reused.
    fn forward(&self, number: i32) -> io::Result<()> {
        match sys::send(self.child, number) {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::PERM) => {
                output::note(format_args!(
                    "signal {number} does not reach the command: it runs as another user"
                ));
                Ok(())
            }
            other => other,
        }
    }

    /// Reaps all children that have ended, because one SIGCHLD may represent several, and returns the exit code of the child
    /// if it is among them. If the child was stopped at a terminal, this process stops as well, so that the shell has its
    /// prompt again; without one it goes on waiting, because no shell would continue it.
    fn reap(&mut self) -> io::Result<Option<Exit>> {
        let mut exit = None;
        let options = WaitOptions::NOHANG | WaitOptions::UNTRACED | WaitOptions::CONTINUED;
        loop {
            match wait(options) {
                Ok(Some((pid, status))) if pid == self.child => {
                    exit = exit_of(status).or(exit);
                    self.follow(status)?;
                }
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) | Err(Errno::CHILD) => return Ok(exit),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn follow(&mut self, status: WaitStatus) -> io::Result<()> {
        self.is_stopped = status.stopped();
        match status.stopping_signal() {
            Some(number) if self.has_terminal => sys::stop_with(number),
            _ => Ok(()),
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
