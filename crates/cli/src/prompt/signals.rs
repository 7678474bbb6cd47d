//! The signals that a prompt catches, so that the terminal is restored first.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use crate::sys::{self, SignalSet};

/// The named signals that end a process by default, except those that report a fault of the program itself.
const ENDING: [i32; 14] = [
    libc::SIGALRM,
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGIO,
    libc::SIGPROF,
    libc::SIGPWR,
    libc::SIGQUIT,
    libc::SIGSTKFLT,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGVTALRM,
    libc::SIGXCPU,
    libc::SIGXFSZ,
];

/// The signals that stop and continue a process.
const JOB_CONTROL: [i32; 4] = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU, libc::SIGCONT];

/// A queue of the caught signals in the order of their arrival.
pub(super) struct Signals {
    receiver: UnixStream,
}

impl Signals {
    /// Catches the signals that end or stop a process for the rest of the program. Those that are ignored at the start, such
    /// as SIGHUP under `nohup`, stay ignored.
    ///
    /// A system call that any of these interrupts fails with `EINTR` and is not restarted: `tcsetattr` by a background
    /// process would otherwise raise SIGTTOU forever.
    ///
    /// # Errors
    ///
    /// Returns an [`io::Error`] if the socket cannot be created or a handler cannot be registered.
    pub(super) fn catch() -> io::Result<Self> {
        let (receiver, sender) = UnixStream::pair()?;
        // A handler must not block. A full buffer holds hundreds of signals, so dropping one is acceptable.
        sender.set_nonblocking(true)?;
        let sender = Arc::new(sender);
        let real_time = libc::SIGRTMIN()..=libc::SIGRTMAX();
        let caught = ENDING.into_iter().chain(JOB_CONTROL).chain(real_time);
        for number in caught.filter(|number| !sys::is_ignored(*number)) {
            sys::notify(number, Arc::clone(&sender))?;
            sys::disable_restart(number)?;
        }
        // The program may have been started with some of them blocked.
        sys::set_blocked(SignalSet::EMPTY)?;
        Ok(Self { receiver })
    }

    /// Returns the number of the next signal if one has arrived.
    pub(super) fn try_next(&mut self) -> io::Result<Option<i32>> {
        let mut message = [0; 1];
        loop {
            match recv(&self.receiver, &mut message, RecvFlags::DONTWAIT) {
                Ok(_) => return Ok(Some(message[0].into())),
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Returns `true` if the signal is in the queue.
    pub(super) fn has_arrived(&self, number: i32) -> bool {
        let mut messages = [0; 256];
        let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
        let n = recv(&self.receiver, &mut messages, flags).map_or(0, |(_, n)| n);
        messages[..n]
            .iter()
            .any(|message| i32::from(*message) == number)
    }
}

impl AsFd for Signals {
    /// Returns the descriptor that is readable when a signal has arrived.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}
