//! Supervises the command: forwards signals to it and exits with its code. This process never holds a secret.

use std::fs::File;
use std::io;

use libc::{
    SIGCHLD, SIGCONT, SIGINT, SIGPIPE, SIGQUIT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGWINCH,
};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, WaitStatus, getpid, getppid,
    set_parent_process_death_signal, setpgid, wait, waitid,
};
use rustix::stdio::stdin;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

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
/// its own group, so that a signal to this group reaches it once, through this process. With `is_masked` the child copies
/// between the terminal and the command, in a session of its own.
///
/// # Errors
///
/// Returns a [`Failure`] if signals cannot be blocked or waited for, or if the process cannot be forked.
pub(super) fn fork(is_masked: bool) -> Result<Role, Failure> {
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
    let modes = is_masked.then(|| tcgetattr(stdin()).ok()).flatten();
    let parent = getpid();
    match sys::fork().map_err(|error| failure("start a process", &error))? {
        None => {
            become_child(parent, has_terminal).map_err(|error| failure("start", &error))?;
            Ok(Role::Command(inherited))
        }
        Some(child) => {
            let host = Waiting {
                child,
                waited,
                has_terminal,
                is_masked,
            };
            let exit = Supervisor::new(child, host).run();
            let exit = exit.map_err(|error| failure("wait for the command", &error))?;
            if let Some(modes) = modes {
                restore(&modes);
            }
            Ok(Role::Supervisor(exit))
        }
    }
}

/// Returns all signals but those that were ignored at the start, such as SIGHUP under `nohup`, which stay ignored. SIGKILL
/// and SIGSTOP cannot be blocked. A fault of this process ends it although its signal is blocked.
pub(super) fn waited_signals() -> SignalSet {
    SignalSet::of(|number| match number {
        SIGCHLD => true,
        // `std` ignores it.
        SIGPIPE => !sys::ignored_sigpipe_at_start(),
        number => !sys::is_ignored(number),
    })
}

/// Lets the kernel kill this process when its parent ends.
///
/// # Errors
///
/// Returns an error of the system, and one if the parent has already ended.
pub(super) fn end_with(parent: Pid) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    match getppid() == Some(parent) {
        true => Ok(()),
        false => Err(io::Error::other("the process that waits for it has ended")),
    }
}

/// Prepares the child, which must not outlive its parent: not while it waits for a provider, and not as the command.
fn become_child(parent: Pid, has_terminal: bool) -> io::Result<()> {
    end_with(parent)?;
    if !has_terminal {
        setpgid(None, None)?;
    }
    sys::set_blocked(SignalSet::EMPTY)?;
    Ok(())
}

/// Restores the modes of the terminal if the process that had changed them was killed.
fn restore(modes: &Termios) {
    if sys::is_foreground(stdin()) {
        // A terminal that is closed has no modes.
        let _ = tcsetattr(stdin(), OptionalActions::Now, modes);
    }
}

/// What a [`Supervisor`] does while it waits, and how it treats its child.
pub(super) trait Host {
    /// Waits for the next signal.
    fn next_signal(&mut self) -> io::Result<ReceivedSignal>;

    /// Follows a child that this signal has stopped. Returns when this process is continued.
    fn child_stopped(&mut self, number: i32) -> io::Result<()>;

    /// Forwards a signal to the child, which is not reaped yet, so that its pid cannot have been reused.
    fn forward(&mut self, number: i32) -> io::Result<()>;
}

/// The host of a process that only waits.
struct Waiting {
    child: Pid,
    waited: SignalSet,
    has_terminal: bool,
    is_masked: bool,
}

impl Host for Waiting {
    fn next_signal(&mut self) -> io::Result<ReceivedSignal> {
        sys::wait_for(self.waited)
    }

    /// If the child was stopped at a terminal, this process stops as well, so that the shell has its prompt again; without one
    /// it continues to wait, because no shell would continue it.
    fn child_stopped(&mut self, number: i32) -> io::Result<()> {
        match self.has_terminal {
            // A child with a session of its own stops itself with SIGSTOP, and took the key that stops this group. If this group is
            // orphaned, this process does not stop, and no shell continues the child.
            true if self.is_masked && number == SIGSTOP => {
                sys::stop_group()?;
                sys::send(self.child, SIGCONT)
            }
            true => stop_like(self.child, number),
            false => Ok(()),
        }
    }

    fn forward(&mut self, number: i32) -> io::Result<()> {
        sys::send(self.child, number)
    }
}

/// Stops this process with the signal that has stopped its child, unless the child was continued since then. A shell that
/// is not the parent of this process, such as that of a pipeline with a function, continues the job without waiting for this
/// process to stop.
pub(super) fn stop_like(child: Pid, number: i32) -> io::Result<()> {
    sys::stop_with(number, || !is_still_stopped(child))
}

/// Returns `true` if the state of a child did not change after it was reported to be stopped.
fn is_still_stopped(child: Pid) -> bool {
    let options = WaitIdOptions::STOPPED
        | WaitIdOptions::CONTINUED
        | WaitIdOptions::EXITED
        | WaitIdOptions::NOHANG
        | WaitIdOptions::NOWAIT;
    matches!(waitid(WaitId::Pid(child), options), Ok(None))
}

/// Waits for a child, and forwards every signal to it.
pub(super) struct Supervisor<H> {
    child: Pid,
    host: H,
    /// Whether the child is stopped.
    is_stopped: bool,
    /// How often the child has stopped.
    n_stops: u64,
}

/// The signals that stop a process unless it catches them.
const STOPPING: [i32; 3] = [SIGTSTP, SIGTTIN, SIGTTOU];

impl<H: Host> Supervisor<H> {
    pub(super) fn new(child: Pid, host: H) -> Self {
        Self {
            child,
            host,
            is_stopped: false,
            n_stops: 0,
        }
    }

    /// Returns the host.
    pub(super) fn into_host(self) -> H {
        self.host
    }

    /// Forwards signals until the child has ended. Also reaps orphans, which process 1 of a container inherits.
    pub(super) fn run(&mut self) -> io::Result<Exit> {
        loop {
            let signal = self.host.next_signal()?;
            let n_stops = self.n_stops;
            if let Some(exit) = self.reap()? {
                return Ok(exit);
            }
            // A signal that stops has had its effect if the child has stopped since, and was continued.
            let is_obsolete = self.n_stops != n_stops && STOPPING.contains(&signal.number);
            if signal.number != SIGCHLD && !is_obsolete && !self.is_delivered(signal) {
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

    fn forward(&mut self, number: i32) -> io::Result<()> {
        match self.host.forward(number) {
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
    /// if it is among them.
    fn reap(&mut self) -> io::Result<Option<Exit>> {
        let mut exit = None;
        let options = WaitOptions::NOHANG | WaitOptions::UNTRACED | WaitOptions::CONTINUED;
        loop {
            match wait(options) {
                Ok(Some((pid, status))) if pid == self.child => {
                    exit = exit_of(status).or(exit);
                    self.is_stopped = status.stopped();
                    if let Some(number) = status.stopping_signal() {
                        self.n_stops += 1;
                        self.host.child_stopped(number)?;
                    }
                }
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) | Err(Errno::CHILD) => return Ok(exit),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn exit_of(status: WaitStatus) -> Option<Exit> {
    let code = status.exit_status();
    let number = status.terminating_signal().map(|signal| 128 + signal);
    let code = u8::try_from(code.or(number)?).unwrap_or(u8::MAX);
    Some(Exit::Child(code))
}

pub(super) fn failure(what: &str, error: &io::Error) -> Failure {
    Failure::error(
        format_args!("cannot {what}: {error}"),
        "Check the limits of this user and of this process",
    )
}
