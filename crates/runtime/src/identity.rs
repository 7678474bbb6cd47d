//! Who is at the other end of a connection, as far as the kernel vouches for it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags};

/// The process at the other end of a connection.
///
/// The uid, gid and pid are those that the kernel recorded when the connection was made. The executable is what
/// `/proc/PID/exe` says, read while the process was alive; it is advisory against a determined program of the same user.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) uid: u32,
    pub(crate) pid: i32,
    /// `None` where the kernel has no pidfds.
    pidfd: Option<Arc<OwnedFd>>,
    /// What was read when the connection was made.
    at_connect: ProcessFacts,
}

/// What `/proc` says of a process at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ProcessFacts {
    /// The path of its executable; empty when it cannot be read (another user's process, or one that has ended).
    pub(crate) executable: PathBuf,
    /// When it started, in clock ticks since the machine did. Together with the pid it names a process for good.
    pub(crate) start_time: Option<u64>,
}

impl Peer {
    /// The peer of a connected Unix socket.
    ///
    /// # Errors
    ///
    /// When the kernel does not tell its credentials.
    pub(crate) fn of_socket(socket: BorrowedFd<'_>) -> io::Result<Self> {
        let credentials = rustix::net::sockopt::socket_peercred(socket)?;
        let pid = credentials.pid;
        // The pid can be reused from the moment of the connection; the pidfd of the socket cannot. The second way is for
        // kernels before 6.5.
        let pidfd = crate::sys::pidfd::of_peer(socket)
            .or_else(|_| Ok::<_, io::Error>(rustix::process::pidfd_open(pid, PidfdFlags::empty())?))
            .ok();
        Ok(Self::new(credentials.uid.as_raw(), pid, pidfd))
    }

    fn new(uid: u32, pid: Pid, pidfd: Option<OwnedFd>) -> Self {
        let mut peer = Self {
            uid,
            pid: pid.as_raw_nonzero().get(),
            pidfd: pidfd.map(Arc::new),
            at_connect: ProcessFacts::default(),
        };
        peer.at_connect = peer.facts();
        peer
    }

    /// What `/proc` says of the process now, or nothing when it has ended: then the pid may be another's.
    pub(crate) fn facts(&self) -> ProcessFacts {
        let facts = ProcessFacts::read(self.pid);
        // The order matters: alive after the reading means that the reading was of this process.
        if self.is_alive() {
            facts
        } else {
            ProcessFacts::default()
        }
    }

    /// What was read when the connection was made.
    pub(crate) fn facts_at_connect(&self) -> &ProcessFacts {
        &self.at_connect
    }

    fn is_alive(&self) -> bool {
        match &self.pidfd {
            Some(pidfd) => {
                let mut fds = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
                // A pidfd is readable once its process has ended.
                matches!(poll(&mut fds, Some(&Timespec::default())), Ok(0))
            }
            None => ProcessFacts::read(self.pid).start_time == self.at_connect.start_time,
        }
    }
}

impl ProcessFacts {
    fn read(pid: i32) -> Self {
        let executable = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        let start_time = std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .ok()
            .and_then(|stat| start_time(&stat));
        Self {
            executable,
            start_time,
        }
    }
}

/// Field 22 of `/proc/PID/stat`. The second field, the program's name in parentheses, may contain anything, so the
/// count starts behind the last parenthesis.
fn start_time(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn the_start_time_is_found_behind_a_hostile_name() {
        let numbers: Vec<String> = (4..60).map(|n| n.to_string()).collect();
        let stat = format!("42 (a) b (c)) S {}", numbers.join(" "));
        assert_eq!(start_time(&stat), Some(22));
        assert_eq!(start_time("garbage"), None);
        assert_eq!(start_time("1 (short) S 1 2"), None);
    }

    #[test]
    fn the_peer_of_a_socket_is_recognised() {
        let (ours, _theirs) = UnixStream::pair().expect("a socket pair");
        let peer = Peer::of_socket(ours.as_fd()).expect("credentials");
        assert_eq!(peer.uid, rustix::process::getuid().as_raw());
        assert_eq!(peer.pid, i32::try_from(std::process::id()).expect("a pid"));
        assert_eq!(
            peer.facts().executable,
            std::env::current_exe().expect("our own path")
        );
        assert_eq!(&peer.facts(), peer.facts_at_connect());
        assert!(peer.pidfd.is_some(), "this kernel has pidfds");
    }

    #[test]
    fn a_process_that_has_ended_has_no_facts() {
        let mut child = std::process::Command::new("sleep")
            .arg("600")
            .spawn()
            .expect("sleep");
        let pid = Pid::from_child(&child);
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).expect("a pidfd");
        let peer = Peer::new(0, pid, Some(pidfd));
        assert!(peer.facts().start_time.is_some());
        child.kill().and_then(|()| child.wait()).expect("killed");
        assert_eq!(peer.facts(), ProcessFacts::default());
        assert!(peer.facts_at_connect().start_time.is_some());
    }
}
