//! The signals that a command catches: `keyway run` forwards them, and a hidden prompt restores the terminal first.
//!
//! A handler may only call async-signal-safe functions, so it writes two bytes into a socket, which the program reads
//! later (the self-pipe trick). The only unsafe code of this crate is here: registering a handler that receives the
//! sender of a signal, and taking the default action of a caught signal, have no safe interface.

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

/// The caught signals. Signals that are ignored at start, such as SIGHUP under `nohup`, stay ignored.
const CAUGHT: [Signal; 7] = [
    Signal::HUP,
    Signal::INT,
    Signal::QUIT,
    Signal::TERM,
    Signal::USR1,
    Signal::USR2,
    Signal::WINCH,
];

/// The signals of job control, which only a prompt catches: those that stop a process, and SIGCONT.
const JOB_CONTROL: [Signal; 4] = [Signal::TSTP, Signal::TTIN, Signal::TTOU, Signal::CONT];

/// `si_code` of a signal that the kernel sent, such as those of a terminal's keys (`SI_KERNEL`).
const FROM_KERNEL: i32 = 0x80;

/// A queue of the caught signals in the order of their arrival.
pub(crate) struct Signals {
    receiver: UnixStream,
}

/// A caught signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReceivedSignal {
    pub(crate) signal: Signal,
    /// `true` if a key of the terminal caused it, such as Ctrl-C, which signals every process in the foreground.
    pub(crate) is_from_terminal: bool,
}

impl Signals {
    /// Catches [`CAUGHT`] and SIGCHLD for the rest of the program.
    ///
    /// # Errors
    ///
    /// Returns an [`io::Error`] if the socket cannot be created or a handler cannot be registered.
    pub(crate) fn catch() -> io::Result<Self> {
        Self::catch_also(&[])
    }

    /// As [`catch`](Self::catch), with the signals of job control. A system call that any of these interrupts fails with
    /// `EINTR` and is not restarted: `tcsetattr` by a background process would otherwise raise SIGTTOU forever.
    pub(crate) fn catch_with_job_control() -> io::Result<Self> {
        let signals = Self::catch_also(&JOB_CONTROL)?;
        for signal in CAUGHT.iter().chain(&JOB_CONTROL) {
            disable_restart(*signal)?;
        }
        Ok(signals)
    }

    fn catch_also(more: &[Signal]) -> io::Result<Self> {
        let (receiver, sender) = UnixStream::pair()?;
        // A handler must not block. A full buffer holds hundreds of signals, so dropping one is acceptable.
        sender.set_nonblocking(true)?;
        let ignored = ignored_signals()?;
        let caught = CAUGHT.iter().chain(more);
        let caught = caught.filter(|signal| !is_in(**signal, ignored));
        for signal in caught.chain(&[Signal::CHILD]) {
            catch(*signal, sender.try_clone()?)?;
        }
        Ok(Self { receiver })
    }

    /// Blocks until the next signal.
    pub(crate) fn next(&mut self) -> io::Result<ReceivedSignal> {
        let mut message = [0; 2];
        self.receiver.read_exact(&mut message)?;
        Self::decode(message)
    }

    /// Returns the next signal if one has arrived.
    pub(crate) fn try_next(&mut self) -> io::Result<Option<ReceivedSignal>> {
        let mut message = [0; 2];
        loop {
            // A handler writes both bytes at once, so either both can be read or none.
            match recv(&self.receiver, &mut message, RecvFlags::DONTWAIT) {
                Ok(_) => return Self::decode(message).map(Some),
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn decode([number, is_from_kernel]: [u8; 2]) -> io::Result<ReceivedSignal> {
        let signal = Signal::from_named_raw(number.into())
            .ok_or_else(|| io::Error::other("a signal without a name was caught"))?;
        let keys = matches!(signal, Signal::INT | Signal::QUIT | Signal::WINCH);
        Ok(ReceivedSignal {
            signal,
            is_from_terminal: keys && is_from_kernel == 1,
        })
    }
}

impl AsFd for Signals {
    /// Readable when a signal has arrived.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}

/// Takes the default action of a caught signal that stops a process, and returns after the process was continued.
///
/// The kernel does not stop an orphaned process group on SIGTSTP, SIGTTIN and SIGTTOU, because no process could continue
/// it.
pub(crate) fn stop_with(signal: Signal) -> io::Result<()> {
    let handler = action(signal)?;
    // SAFETY: all fields are integers, an optional function or a signal set, for which zeros are SIG_DFL and the empty set.
    let default: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    set_action(signal, &default)?;
    let stopped = rustix::process::kill_process(rustix::process::getpid(), signal);
    set_action(signal, &handler)?;
    Ok(stopped?)
}

/// Makes system calls fail with `EINTR` after the handler of this signal has run. An ignored signal has no handler.
fn disable_restart(signal: Signal) -> io::Result<()> {
    let mut action = action(signal)?;
    action.sa_flags &= !libc::SA_RESTART;
    set_action(signal, &action)
}

fn action(signal: Signal) -> io::Result<libc::sigaction> {
    let mut action = MaybeUninit::uninit();
    // SAFETY: with a null pointer the action is only read; the kernel writes the whole struct if it returns 0.
    match unsafe { libc::sigaction(signal.as_raw(), ptr::null(), action.as_mut_ptr()) } {
        // SAFETY: written by the call.
        0 => Ok(unsafe { action.assume_init() }),
        _ => Err(io::Error::last_os_error()),
    }
}

fn set_action(signal: Signal, action: &libc::sigaction) -> io::Result<()> {
    // SAFETY: the action is SIG_DFL, or one read by `action`, whose handler is that of `signal_hook_registry`.
    match unsafe { libc::sigaction(signal.as_raw(), action, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn catch(signal: Signal, sender: UnixStream) -> io::Result<()> {
    let number = u8::try_from(signal.as_raw()).map_err(io::Error::other)?;
    // SAFETY: the handler may run at any time, so it must be async-signal-safe. It reads one field of its argument and
    // makes one system call that does not block and does not change `errno`; it neither allocates nor locks.
    let registered = unsafe {
        signal_hook_registry::register_sigaction(signal.as_raw(), move |info| {
            let message = [number, u8::from(info.si_code == FROM_KERNEL)];
            // A handler can neither report an error nor allocate.
            let _ = rustix::io::write(&sender, &message);
        })
    };
    registered.map(drop)
}

/// Returns the set of ignored signals in the kernel's format: signal 1 is the lowest bit.
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
    fn signal_1_is_the_lowest_bit_of_a_set() {
        assert!(is_in(Signal::HUP, 1));
        assert!(is_in(Signal::INT, 0b10) && !is_in(Signal::INT, 0b101));
    }
}
