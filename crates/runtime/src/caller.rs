//! The callers of the daemon: the peer of a connection, and each request that it makes.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use http::{HeaderMap, HeaderValue};
use keyway_local::{Credentials, Process, ProcessFacts};
use keyway_proto::{COMMAND_HEADER, MAX_COMMAND_LEN, REQUEST_ID_HEADER};
use keyway_rpc::{Error, Request};

use crate::model::RequestId;

/// The peer of a connection in one of its requests.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) peer: Arc<Peer>,
    pub(crate) request_id: RequestId,
    /// Arrival time of the request.
    pub(crate) since: Instant,
    /// The command for which the client resolves secrets, by its own account.
    command: Option<HeaderValue>,
    facts: OnceLock<ProcessFacts>,
}

impl Caller {
    /// Numbers a request of `peer` that arrives now.
    pub(crate) fn new(peer: Arc<Peer>) -> Self {
        Self {
            peer,
            request_id: RequestId::next(),
            since: Instant::now(),
            command: None,
            facts: OnceLock::new(),
        }
    }

    /// Returns the caller of a request that arrives now.
    ///
    /// # Errors
    ///
    /// `internal` if the request did not come through the server, which adds the peer to each.
    pub(crate) fn of<M>(request: &Request<M>) -> Result<Self, Error> {
        let peer = request
            .extensions()
            .get::<Arc<Peer>>()
            .ok_or_else(|| Error::internal("the caller of this request is not known"))?;
        Ok(Self {
            command: request.metadata().get(COMMAND_HEADER).cloned(),
            ..Self::new(Arc::clone(peer))
        })
    }

    /// Returns the name of the command for which the client resolves secrets, by its own account.
    pub(crate) fn command(&self) -> Option<&str> {
        // Visible ASCII alone, so a cut is on the border of a character.
        let command = self.command.as_ref()?.to_str().ok()?;
        Some(&command[..command.len().min(MAX_COMMAND_LEN)])
    }

    /// Adds the id of the request to the headers of its response or error.
    pub(crate) fn add_id(&self, headers: &mut HeaderMap) {
        headers.insert(REQUEST_ID_HEADER, self.request_id.header());
    }

    /// Returns the facts of the process from `/proc`; empty if it has ended or cannot be seen. Read once a request, by the
    /// first that needs it: the access-control modules and the audit log.
    pub(crate) fn facts(&self) -> &ProcessFacts {
        self.facts.get_or_init(|| self.peer.facts())
    }

    /// Returns the earlier result of [`facts`](Self::facts) in this request; `None` if there is none.
    pub(crate) fn facts_if_read(&self) -> Option<&ProcessFacts> {
        self.facts.get()
    }
}

/// The peer of a connection to the daemon's socket.
///
/// The credentials are those that the kernel recorded when the connection was made. The facts from `/proc` are
/// advisory against a determined program of the same user.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) credentials: Credentials,
    /// `true` if the connection came by a path, which has file permissions; an abstract name has none.
    pub(crate) is_path_address: bool,
    /// `true` if the process is in another pid namespace, or that is not known.
    pub(crate) is_contained: bool,
    /// `None` if the process is in a pid namespace that the daemon cannot see.
    process: Option<Arc<Process>>,
    parent_executable: OnceLock<PathBuf>,
}

impl Peer {
    /// Identifies the peer of a connected socket. It reads `/proc`, so the uid is checked before.
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
            parent_executable: OnceLock::new(),
        }
    }

    pub(crate) fn uid(&self) -> u32 {
        self.credentials.uid
    }

    /// Returns the process id; `None` if the daemon cannot see the process.
    pub(crate) fn pid(&self) -> Option<i32> {
        Some(self.credentials.pid?.as_raw_nonzero().get())
    }

    /// Returns the process itself; `None` if the daemon cannot see it.
    pub(crate) fn process(&self) -> Option<&Arc<Process>> {
        self.process.as_ref()
    }

    /// Returns the executable when the connection was made; empty if it could not be read.
    pub(crate) fn executable(&self) -> &Path {
        self.process
            .as_ref()
            .map_or(Path::new(""), |process| &process.first_facts().executable)
    }

    /// Returns the executable of the program that started this one; empty if it cannot be read. It is read once a connection, by the
    /// first that needs it.
    pub(crate) fn parent_executable(&self) -> &Path {
        self.parent_executable.get_or_init(|| {
            let process = self.process.as_ref();
            process
                .map(|process| process.parent_executable())
                .unwrap_or_default()
        })
    }

    /// Returns the present facts of the process from `/proc`; empty if it has ended or cannot be seen.
    pub(crate) fn facts(&self) -> ProcessFacts {
        self.process
            .as_ref()
            .map(|process| process.facts())
            .unwrap_or_default()
    }
}

#[cfg(test)]
impl Peer {
    /// Returns a process of `uid` that connected by a path.
    pub(crate) fn of_process(process: Process, uid: u32) -> Self {
        let pid = process.pid().as_raw_nonzero().get();
        Self {
            credentials: Credentials::new(uid, uid, pid),
            is_path_address: true,
            is_contained: false,
            process: Some(Arc::new(process)),
            parent_executable: OnceLock::new(),
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
        assert_eq!(peer.facts().executable, peer.executable());
        assert!(peer.executable().is_absolute());
        assert!(!peer.is_contained && peer.is_path_address);
    }

    #[test]
    fn a_request_reads_the_facts_of_its_caller_once() {
        let mut child = std::process::Command::new("sleep")
            .arg("600")
            .spawn()
            .expect("sleep");
        let process = Process::new(rustix::process::Pid::from_child(&child), None);
        let peer = Arc::new(Peer::of_process(process, 7));
        let caller = Caller::new(Arc::clone(&peer));
        let facts = caller.facts().clone();
        assert!(facts.start_time.is_some());
        child.kill().and_then(|()| child.wait()).expect("killed");
        assert_eq!(caller.facts(), &facts);
        let next = Caller::new(peer);
        assert_eq!(next.facts(), &ProcessFacts::default());
    }

    #[test]
    fn a_peer_without_a_pid_is_contained_and_has_no_executable() {
        let (ours, _theirs) = UnixStream::pair().expect("a socket pair");
        let peer = Peer::identify(ours.as_fd(), Credentials::new(7, 7, 0), false);
        assert!(peer.is_contained && peer.process().is_none());
        assert_eq!((peer.pid(), peer.facts()), (None, ProcessFacts::default()));
    }
}
