//! The code that runs in a forked process before it becomes something else.
//!
//! Between `fork` and `exec` a process of a program with threads may do very little: another thread may have held the
//! allocator's lock when the process was copied, and no thread is left to release it. So every function here that runs in the
//! child makes plain system calls on values computed before the fork; it never allocates, locks or panics.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;

use keyway_local::forbid_core_files;
use rustix::process::{Pid, Signal, getppid};

use super::descriptors::FormerLimit;
use super::image::{Image, above_streams};

/// The descriptor at which a plugin finds its end of the connection (protocol: any number above 2).
pub(crate) const PLUGIN_DESCRIPTOR: i32 = 3;

/// The descriptors that a plugin process gets from its parent, all above the numbers that the process gives them.
#[derive(Debug)]
pub(crate) struct Descriptors {
    null: OwnedFd,
    output: OwnedFd,
    socket: OwnedFd,
    report: OwnedFd,
    /// Limit for the descriptors that it may open.
    limit: FormerLimit,
}

impl Descriptors {
    /// Standard input is `null`, standard output and error are `output`, the connection is `socket`, and `report` is the
    /// write end of a pipe that is closed by a successful execution and gets a [`ChildFailure`] otherwise.
    ///
    /// # Errors
    ///
    /// Returns the error of the operating system if there are not enough free descriptors.
    pub(crate) fn new(
        null: OwnedFd,
        output: OwnedFd,
        socket: OwnedFd,
        report: OwnedFd,
    ) -> io::Result<Self> {
        Ok(Self {
            null: above_streams(null)?,
            output: above_streams(output)?,
            socket: above_streams(socket)?,
            report: above_streams(report)?,
            limit: FormerLimit::get(),
        })
    }
}

/// A step of a child between fork and exec that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChildStep {
    ParentDeath,
    ProcessGroup,
    Limits,
    Descriptors,
    Execute,
}

impl ChildStep {
    const ALL: [Self; 5] = [
        Self::ParentDeath,
        Self::ProcessGroup,
        Self::Limits,
        Self::Descriptors,
        Self::Execute,
    ];

    /// Returns the attempted step, for an error.
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::ParentDeath => "tie the process to the daemon's life",
            Self::ProcessGroup => "make a process group",
            Self::Limits => "set the limits of the process",
            Self::Descriptors => "arrange the descriptors",
            Self::Execute => "execute the file",
        }
    }
}

/// The step of a child that failed, and why.
#[derive(Debug)]
pub(crate) struct ChildFailure {
    /// The step.
    pub(crate) step: ChildStep,
    /// The error of the operating system.
    pub(crate) source: io::Error,
}

/// The form in which a [`ChildFailure`] travels: step and error number. Small enough for the kernel to write it in one piece.
pub(crate) type ChildReport = [u8; 8];

impl ChildFailure {
    fn to_report(&self) -> ChildReport {
        let code = self.source.raw_os_error().unwrap_or(libc::EIO);
        let mut report = [0; 8];
        report[..4].copy_from_slice(&(self.step as u32).to_ne_bytes());
        report[4..].copy_from_slice(&code.to_ne_bytes());
        report
    }

    /// Reads a report; `None` if no child writes such a one.
    pub(crate) fn from_report(report: ChildReport) -> Option<Self> {
        let (step, code) = report.split_first_chunk::<4>()?;
        let step = u32::from_ne_bytes(*step);
        Some(Self {
            step: *ChildStep::ALL.iter().find(|known| **known as u32 == step)?,
            source: io::Error::from_raw_os_error(i32::from_ne_bytes(code.try_into().ok()?)),
        })
    }
}

/// Blocks every signal in the calling thread, and thus in the children that it forks, until they have unblocked them: before
/// its dispositions are reset a child would run the daemon's signal handlers, which write to descriptors of the daemon.
pub(crate) fn block_signals() {
    // SAFETY: plain calls on a signal set on this stack.
    unsafe {
        let mut signals = std::mem::zeroed::<libc::sigset_t>();
        libc::sigfillset(&raw mut signals);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const signals, ptr::null_mut());
    }
}

/// Forks a child that becomes `image` in a process group of its own, with its socket at descriptor 3. It inherits nothing else
/// beyond its standard streams and the descriptors of the image, ignores and blocks no signal, has the limit of descriptors that
/// the daemon was started with, is killed by the kernel when the calling thread ends, and leaves no core file behind.
///
/// Returns at once; whether the image was executed is reported through the pipe in `descriptors`. The caller must have
/// [blocked its signals](block_signals), must live as long as the child is to live, and reaps the child.
///
/// # Errors
///
/// Returns the error of the operating system if it cannot create another process.
pub(crate) fn fork_plugin(image: &Image, descriptors: &Descriptors) -> io::Result<Pid> {
    let parent = rustix::process::getpid();
    // SAFETY: the child runs `become_image`, which makes only async-signal-safe system calls on values made before the fork,
    // and never returns into code that could find a lock held by a thread that does not exist here.
    match unsafe { libc::fork() } {
        0 => become_image(image, descriptors, parent),
        pid => forked(pid),
    }
}

/// Converts the result of `fork` in the parent. To be called before any other system call.
pub(super) fn forked(pid: libc::pid_t) -> io::Result<Pid> {
    match pid {
        // `Pid::from_raw` takes no negative number.
        1.. => Pid::from_raw(pid).ok_or_else(io::Error::last_os_error),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Runs the child until it is a plugin, or has reported why it is none.
fn become_image(image: &Image, descriptors: &Descriptors, parent: Pid) -> ! {
    let failure = match enter(image, descriptors, parent) {
        Ok(()) => ChildFailure {
            step: ChildStep::Execute,
            source: image.execute(),
        },
        Err(failure) => failure,
    };
    let report = failure.to_report();
    // SAFETY: the buffer is eight bytes of our own stack. If nothing reads the report any more, nothing can be done.
    unsafe {
        libc::write(
            descriptors.report.as_raw_fd(),
            report.as_ptr().cast(),
            report.len(),
        )
    };
    // SAFETY: leaves without running the exit handlers of the program that this is a copy of.
    unsafe { libc::_exit(127) }
}

fn enter(image: &Image, descriptors: &Descriptors, parent: Pid) -> Result<(), ChildFailure> {
    let at = |step| move |source| ChildFailure { step, source };
    rustix::process::setpgid(None, None)
        .map_err(io::Error::from)
        .map_err(at(ChildStep::ProcessGroup))?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(io::Error::from)
        .map_err(at(ChildStep::ParentDeath))?;
    // The parent may have ended before the line above took effect; then no signal would ever be sent.
    if getppid() != Some(parent) {
        let gone = io::Error::from_raw_os_error(libc::ESRCH);
        return Err(at(ChildStep::ParentDeath)(gone));
    }
    reset_signals();
    forbid_core_files().map_err(at(ChildStep::Limits))?;
    descriptors.limit.restore().map_err(at(ChildStep::Limits))?;
    arrange(image, descriptors).map_err(at(ChildStep::Descriptors))
}

/// Gives the standard streams and the socket their numbers, and marks everything else to be closed by `exec`.
fn arrange(image: &Image, descriptors: &Descriptors) -> io::Result<()> {
    for (source, number) in [
        (&descriptors.null, 0),
        (&descriptors.output, 1),
        (&descriptors.output, 2),
        (&descriptors.socket, PLUGIN_DESCRIPTOR),
    ] {
        // SAFETY: `dup2` only changes this process's descriptor table. Source and target differ, so the copy survives `exec`,
        // and nothing that is needed later has a number below `LOWEST_SOURCE`.
        check(unsafe { libc::dup2(source.as_raw_fd(), number) })?;
    }
    close_range_on_exec(PLUGIN_DESCRIPTOR + 1)?;
    match image.inherited() {
        // SAFETY: `fcntl` on a descriptor number has no memory effects.
        Some(inherited) => check(unsafe { libc::fcntl(inherited, libc::F_SETFD, 0) }),
        None => Ok(()),
    }
}

/// Gives every signal its default effect and unblocks all. `exec` does the former for signals with a handler, but an ignored
/// one stays ignored: a daemon that a shell started in the background ignores SIGINT, and its plugins could not be terminated by it.
fn reset_signals() {
    const LAST_STANDARD_SIGNAL: libc::c_int = 31;
    for signal in 1..=LAST_STANDARD_SIGNAL {
        // SAFETY: the default effect runs no code of ours. SIGKILL and SIGSTOP refuse, and cannot be ignored anyway.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: plain calls on a signal set on this stack.
    unsafe {
        let mut signals = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut signals);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const signals, ptr::null_mut());
    }
}

/// Marks every descriptor from `first` on to be closed by `exec`, in case that some library forgot to.
///
/// They stay open until then, because one of them reports a failed `exec` to the parent.
fn close_range_on_exec(first: RawFd) -> io::Result<()> {
    // SAFETY: with CLOSE_RANGE_CLOEXEC the call sets a flag on descriptors and touches no memory.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    match check(result as libc::c_int) {
        // Before Linux 5.11 the flag is unknown. Every descriptor of ours and of the standard library is close-on-exec from
        // its creation, so this call is a second safeguard.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL)) => Ok(()),
        result => result,
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Has this process ignore a signal that nothing here uses, for a test of the dispositions that children inherit.
#[cfg(test)]
pub(crate) fn ignore_user_signal() {
    // SAFETY: ignoring a signal runs no code.
    unsafe { libc::signal(libc::SIGUSR2, libc::SIG_IGN) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failure_of_each_step_survives_its_report() {
        for step in ChildStep::ALL {
            let failure = ChildFailure {
                step,
                source: io::Error::from_raw_os_error(libc::EACCES),
            };
            let read = ChildFailure::from_report(failure.to_report()).expect("a report");
            assert_eq!(
                (read.step, read.source.raw_os_error()),
                (step, Some(libc::EACCES))
            );
        }
        assert!(ChildFailure::from_report([0xff; 8]).is_none());
    }
}
