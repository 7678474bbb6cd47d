//! The signals that a command catches: `keyway run` passes them on, and a hidden prompt restores the terminal first.
//!
//! A handler may do next to nothing, so it writes two bytes into a socket, which the program reads when it is ready.
//! The only unsafe code of this crate is here: registering a handler that learns who sent a signal, and taking the default
//! action of a caught signal, have no safe interface.

#![allow(unsafe_code)]

use std::fs;
use std::io::{self, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::ptr;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use rustix::process::Signal;

/// What is caught. Signals that were ignored when the program started, as SIGHUP under `nohup`, stay ignored.
const CAUGHT: [Signal; 7] = [
    Signal::HUP,
    Signal::INT,
    Signal::QUIT,
    Signal::TERM,
    Signal::USR1,
    Signal::USR2,
    Signal::WINCH,
];

/// The signals of job control, which only a prompt catches: those that stop a process, and the one that continues it.
const JOB_CONTROL: [Signal; 4] = [Signal::TSTP, Signal::TTIN, Signal::TTOU, Signal::CONT];

/// `si_code` of a signal that the kernel made, such as those of a terminal's keys (`SI_KERNEL`).
const FROM_KERNEL: i32 = 0x80;

/// The signals that have arrived since this was made, in order.
pub(crate) struct Signals {
    arrived: UnixStream,
}

/// A signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) signal: Signal,
    /// A terminal sent it: Ctrl-C and its like reach every process in the foreground.
    pub(crate) by_terminal: bool,
}

impl Signals {
    /// Catches [`CAUGHT`], and SIGCHLD, from now on for the rest of the program.
    ///
    /// # Errors
    ///
    /// The system has no socket or handler left to give.
    pub(crate) fn catch() -> io::Result<Self> {
        Self::catch_also(&[])
    }

    /// As [`catch`](Self::catch), with the signals of job control. A system call that any of these interrupts fails with
    /// `EINTR` and is not restarted: `tcsetattr` by a background process would otherwise raise SIGTTOU for ever.
    pub(crate) fn catch_with_job_control() -> io::Result<Self> {
        let signals = Self::catch_also(&JOB_CONTROL)?;
        for signal in CAUGHT.iter().chain(&JOB_CONTROL) {
            do_not_restart(*signal)?;
        }
        Ok(signals)
    }

    fn catch_also(more: &[Signal]) -> io::Result<Self> {
        let (arrived, sender) = UnixStream::pair()?;
        // A handler must not wait. If ever the buffer is full, hundreds of signals are on their way already.
        sender.set_nonblocking(true)?;
        let ignored = ignored_signals()?;
        let caught = CAUGHT.iter().chain(more);
        let caught = caught.filter(|signal| !is_in(**signal, ignored));
        for signal in caught.chain(&[Signal::CHILD]) {
            catch(*signal, sender.try_clone()?)?;
        }
        Ok(Self { arrived })
    }

    /// Waits for the next signal, which may never come.
    pub(crate) fn next(&mut self) -> io::Result<Arrived> {
        let mut message = [0; 2];
        self.arrived.read_exact(&mut message)?;
        Self::read(message)
    }

    /// Returns the next signal if one has arrived.
    pub(crate) fn try_next(&mut self) -> io::Result<Option<Arrived>> {
        let mut message = [0; 2];
        loop {
            // A handler writes both bytes at once, so both are there or none is.
            match recv(&self.arrived, &mut message, RecvFlags::DONTWAIT) {
                Ok(_) => return Self::read(message).map(Some),
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn read([number, by_kernel]: [u8; 2]) -> io::Result<Arrived> {
        let signal = Signal::from_named_raw(number.into())
            .ok_or_else(|| io::Error::other("a signal without a name was caught"))?;
        let keys = matches!(signal, Signal::INT | Signal::QUIT | Signal::WINCH);
        Ok(Arrived {
            signal,
            by_terminal: keys && by_kernel == 1,
        })
    }
}

impl AsFd for Signals {
    /// Readable when a signal has arrived.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.arrived.as_fd()
    }
}

/// Takes the default action of a caught signal that stops a process, and returns when the process was continued.
///
/// The kernel decides whether it stops: a process group without a parent in its session, which nothing could continue, is
/// not stopped by SIGTSTP, SIGTTIN and SIGTTOU.
pub(crate) fn stop_by(signal: Signal) -> io::Result<()> {
    let handler = action(signal)?;
    // SAFETY: all fields are integers, an optional function or a signal set, for which zeros are SIG_DFL and the empty set.
    let default: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    set_action(signal, &default)?;
    let stopped = rustix::process::kill_process(rustix::process::getpid(), signal);
    set_action(signal, &handler)?;
    Ok(stopped?)
}

/// Lets system calls fail with `EINTR` when the handler of this signal has run. An ignored signal has none.
fn do_not_restart(signal: Signal) -> io::Result<()> {
    let mut action = action(signal)?;
    action.sa_flags &= !libc::SA_RESTART;
    set_action(signal, &action)
}

fn action(signal: Signal) -> io::Result<libc::sigaction> {
    let mut action = MaybeUninit::uninit();
    // SAFETY: a null pointer asks only; the kernel writes the whole struct, if it returns 0.
    match unsafe { libc::sigaction(signal.as_raw(), ptr::null(), action.as_mut_ptr()) } {
        // SAFETY: written by the call.
        0 => Ok(unsafe { action.assume_init() }),
        _ => Err(io::Error::last_os_error()),
    }
}

fn set_action(signal: Signal, action: &libc::sigaction) -> io::Result<()> {
    // SAFETY: the action is SIG_DFL, or one that `action` has read with the handler of `signal_hook_registry` in it.
    match unsafe { libc::sigaction(signal.as_raw(), action, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn catch(signal: Signal, sender: UnixStream) -> io::Result<()> {
    let number = u8::try_from(signal.as_raw()).map_err(io::Error::other)?;
    // SAFETY: the handler runs at any moment, so it may only do what is async-signal-safe. It reads one field of its
    // argument and makes one system call that does not wait and leaves `errno` alone; it neither allocates nor locks.
    let registered = unsafe {
        signal_hook_registry::register_sigaction(signal.as_raw(), move |info| {
            let message = [number, u8::from(info.si_code == FROM_KERNEL)];
            // There is nobody to tell, and no memory to tell it with.
            let _ = rustix::io::write(&sender, &message);
        })
    };
    registered.map(drop)
}

/// The set of signals that are ignored, as the kernel prints it: signal 1 is the lowest bit.
fn ignored_signals() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.ok_or_else(|| io::Error::other("/proc/self/status does not say which signals are ignored"))
}

fn is_in(signal: Signal, set: u64) -> bool {
    set >> (signal.as_raw() - 1) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_signals_count_from_one() {
        assert!(is_in(Signal::HUP, 1));
        assert!(is_in(Signal::INT, 0b10) && !is_in(Signal::INT, 0b101));
    }
}
