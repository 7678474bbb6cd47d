//! The signals that a command catches: `keyway run` passes them on, and a hidden prompt ends with them.
//!
//! A handler may do next to nothing, so it writes two bytes into a socket, which the program reads when it is ready.
//! The only unsafe code of this crate is here: registering a handler that learns who sent a signal has no safe face.

#![allow(unsafe_code)]

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::net::UnixStream;

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
        let (arrived, sender) = UnixStream::pair()?;
        // A handler must not wait. If ever the buffer is full, hundreds of signals are on their way already.
        sender.set_nonblocking(true)?;
        let ignored = ignored_signals()?;
        let caught = CAUGHT.into_iter().filter(|signal| !is_in(*signal, ignored));
        for signal in caught.chain([Signal::CHILD]) {
            catch(signal, sender.try_clone()?)?;
        }
        Ok(Self { arrived })
    }

    /// Waits for the next signal, which may never come.
    pub(crate) fn next(&mut self) -> io::Result<Arrived> {
        let mut message = [0; 2];
        self.arrived.read_exact(&mut message)?;
        let [number, by_kernel] = message;
        let signal = Signal::from_named_raw(number.into())
            .ok_or_else(|| io::Error::other("a signal without a name was caught"))?;
        let keys = matches!(signal, Signal::INT | Signal::QUIT | Signal::WINCH);
        Ok(Arrived {
            signal,
            by_terminal: keys && by_kernel == 1,
        })
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
