//! The process at the other end of a connection to the daemon, as far as the kernel vouches for it.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::Arc;

use keyway_local::{Credentials, Process, ProcessFacts};

/// The peer of a connection to the daemon's socket.
///
/// The credentials are those that the kernel recorded when the connection was made. What `/proc` says of the process is
/// advisory against a determined program of the same user.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) credentials: Credentials,
    /// Whether the connection came by a path, which has file permissions; an abstract name has none.
    pub(crate) is_path_address: bool,
    /// Whether the process is in another pid namespace, or that cannot be told.
    pub(crate) is_contained: bool,
    /// `None` if the process is in a pid namespace that the daemon cannot see.
    process: Option<Arc<Process>>,
}

impl Peer {
    /// Identifies the peer of a connected socket. It reads `/proc`, so the uid is judged before.
    pub(crate) fn identify(
        socket: BorrowedFd<'_>,
        credentials: Credentials,
        is_path_address: bool,
    ) -> Self {
        let process = credentials
            .pid
            .map(|pid| Arc::new(Process::of_peer(socket, pid)));
        Self {
            credentials,
            is_path_address,
            is_contained: process
                .as_ref()
                .is_none_or(|process| process.is_contained()),
            process,
        }
    }

    pub(crate) fn uid(&self) -> u32 {
        self.credentials.uid
    }

    /// The process id; `None` if the daemon cannot see the process.
    pub(crate) fn pid(&self) -> Option<i32> {
        Some(self.credentials.pid?.as_raw_nonzero().get())
    }

    /// The process itself; `None` if the daemon cannot see it.
    pub(crate) fn process(&self) -> Option<&Arc<Process>> {
        self.process.as_ref()
    }

    /// The executable when the connection was made; empty if it could not be read.
    pub(crate) fn executable(&self) -> PathBuf {
        self.facts_at_connect().executable
    }

    /// What `/proc` says of the process now; nothing if it has ended or cannot be seen.
    pub(crate) fn facts(&self) -> ProcessFacts {
        self.process
            .as_ref()
            .map(|process| process.facts())
            .unwrap_or_default()
    }

    /// What was read when the connection was made.
    pub(crate) fn facts_at_connect(&self) -> ProcessFacts {
        self.process
            .as_ref()
            .map(|process| process.first_facts().clone())
            .unwrap_or_default()
    }
}

#[cfg(test)]
impl Peer {
    /// A process of `uid` that connected by a path.
    pub(crate) fn of_process(process: Process, uid: u32) -> Self {
        let pid = process.pid().as_raw_nonzero().get();
        Self {
            credentials: Credentials::new(uid, uid, pid),
            is_path_address: true,
            is_contained: false,
            process: Some(Arc::new(process)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_peer_of_a_socket_is_identified() {
        let (ours, _theirs) = UnixStream::pair().expect("a socket pair");
        let credentials = Credentials::of_peer(&ours).expect("credentials");
        let peer = Peer::identify(ours.as_fd(), credentials, true);
        assert_eq!(peer.uid(), rustix::process::geteuid().as_raw());
        let own = rustix::process::getpid().as_raw_nonzero().get();
        assert_eq!(peer.pid(), Some(own));
        assert_eq!(peer.facts(), peer.facts_at_connect());
        assert!(!peer.is_contained && peer.is_path_address);
    }

    #[test]
    fn a_peer_without_a_pid_is_contained_and_has_no_executable() {
        let (ours, _theirs) = UnixStream::pair().expect("a socket pair");
        let peer = Peer::identify(ours.as_fd(), Credentials::new(7, 7, 0), false);
        assert!(peer.is_contained && peer.process().is_none());
        assert_eq!((peer.pid(), peer.facts()), (None, ProcessFacts::default()));
    }
}
