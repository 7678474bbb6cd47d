//! One plugin process.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use keyway_local::readable;
use rustix::process::{Pid, Signal};
use tokio::io::unix::AsyncFd;

use super::spawner::Spawner;

/// The time that a process has to end after SIGINT, before it is killed (protocol).
pub(crate) const STOP_GRACE: Duration = Duration::from_secs(2);

/// The time that a process has to end after SIGKILL before it is left to be reaped later.
const KILL_BOUND: Duration = Duration::from_secs(2);

/// A running plugin process, held by its pidfd: signals can reach no other process, whatever number it has.
///
/// Dropped without [`stop`](Self::stop) or [`reap`](Self::reap), its process group is killed and it is reaped.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    pidfd: Arc<AsyncFd<OwnedFd>>,
    /// `true` once it was handed over to be reaped.
    is_handed_over: bool,
    spawner: Spawner,
}

/// The end of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EndedProcess {
    /// Its exit status.
    pub(crate) status: ExitStatus,
    /// `true` if it had to be killed, because it did not end in time.
    pub(crate) killed: bool,
}

impl EndedProcess {
    /// Returns an end of which nothing is known.
    pub(crate) fn unknown() -> Self {
        // Neither an exit code nor a signal: shown as "ended".
        Self {
            status: ExitStatus::from_raw(0xffff),
            killed: true,
        }
    }
}

impl fmt::Display for EndedProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => write!(f, "exited with status {code}"),
            (None, Some(signal)) => {
                write!(f, "terminated by signal {signal}{}", signal_name(signal))
            }
            (None, None) => f.write_str("ended"),
        }
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        libc::SIGABRT => " (SIGABRT)",
        libc::SIGBUS => " (SIGBUS)",
        libc::SIGILL => " (SIGILL)",
        libc::SIGINT => " (SIGINT)",
        libc::SIGKILL => " (SIGKILL)",
        libc::SIGSEGV => " (SIGSEGV)",
        libc::SIGTERM => " (SIGTERM)",
        _ => "",
    }
}

impl Process {
    /// Takes charge of a child. On an error it is killed and reaped.
    pub(super) fn new(pid: Pid, pidfd: OwnedFd, spawner: Spawner) -> io::Result<Self> {
        match readable(pidfd) {
            Ok(pidfd) => Ok(Self {
                pid,
                pidfd: Arc::new(pidfd),
                is_handed_over: false,
                spawner,
            }),
            Err(error) => {
                spawner.reap_later(pid);
                Err(error)
            }
        }
    }

    /// Returns its process id, which is also the number of its process group. It cannot become another process's before the
    /// process is reaped. For messages and for reading `/proc`; signals go through the pidfd.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Returns `true` if a signal or a debugger has stopped the process, as far as `/proc` says.
    pub(crate) fn is_stopped(&self) -> bool {
        keyway_local::is_stopped(self.pid)
    }

    /// Resolves when the process has ended; it stays a zombie until it is reaped.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub(crate) async fn exited(&self) -> io::Result<()> {
        self.pidfd
            .readable()
            .await
            .map(|mut guard| guard.retain_ready())
    }

    /// Ends the rest of its group and reaps it. To be called when it has [`exited`](Self::exited).
    pub(crate) async fn reap(mut self) -> io::Result<EndedProcess> {
        self.finish(false).await
    }

    /// Ends the process: SIGINT, then SIGKILL after `grace`. Its whole group is killed, and it is reaped.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the process is killed and reaped at once.
    pub(crate) async fn stop(mut self, grace: Duration) -> io::Result<EndedProcess> {
        self.signal(Signal::INT);
        let killed = tokio::time::timeout(grace, self.exited()).await.is_err();
        if killed {
            self.signal(Signal::KILL);
            // A process in an uninterruptible system call is reaped when it leaves that.
            if tokio::time::timeout(KILL_BOUND, self.exited())
                .await
                .is_err()
            {
                return Ok(EndedProcess::unknown());
            }
        }
        self.finish(killed).await
    }

    async fn finish(&mut self, killed: bool) -> io::Result<EndedProcess> {
        self.is_handed_over = true;
        let status = self.spawner.reap(self.pid).await?;
        Ok(EndedProcess { status, killed })
    }

    fn signal(&self, signal: Signal) {
        // A process that has ended cannot be signalled, and need not be.
        let _ = rustix::process::pidfd_send_signal(self.pidfd.get_ref(), signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.is_handed_over {
            self.signal(Signal::KILL);
            self.spawner.reap_later(self.pid);
        }
    }
}
