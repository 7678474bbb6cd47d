//! The process at the other end of a Unix socket: its credentials, and which users are accepted.

use std::fmt;
use std::io;
use std::os::fd::AsFd;

use rustix::process::Pid;

use crate::sys;
use crate::uid::KnownUids;

/// The credentials that the kernel recorded for the process at the other end of a Unix socket.
///
/// They are those of the moment at which the connection, the socket pair or the listening socket was made. The uid is as
/// this process's user namespace shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Credentials {
    /// The effective uid.
    pub uid: u32,
    /// The effective gid.
    pub gid: u32,
    /// The process id; `None` if the process is in a pid namespace that this process cannot see.
    pub pid: Option<Pid>,
}

impl Credentials {
    /// Returns credentials that were read elsewhere; a `pid` of 0 means a process in another pid namespace.
    #[must_use]
    pub fn new(uid: u32, gid: u32, pid: i32) -> Self {
        Self {
            uid,
            gid,
            pid: (pid > 0).then(|| Pid::from_raw(pid)).flatten(),
        }
    }

    /// Reads the credentials of the peer of a connected Unix socket.
    ///
    /// # Errors
    ///
    /// An I/O error if the descriptor is not a connected socket.
    pub fn of_peer(socket: impl AsFd) -> io::Result<Self> {
        let read = sys::peer_credentials(socket.as_fd())?;
        Ok(Self::new(read.uid, read.gid, read.pid))
    }

    /// Returns `true` if the process is systemd, which listens for services and passes the sockets to them.
    #[must_use]
    pub fn is_service_manager(&self) -> bool {
        // Its executable cannot be read by its own user.
        let name = self
            .pid
            .and_then(|pid| std::fs::read(format!("/proc/{}/comm", pid.as_raw_nonzero())).ok());
        name.is_some_and(|name| name == b"systemd\n")
    }

    /// Returns the process id as an integer; 0 if it is unknown.
    #[must_use]
    pub fn raw_pid(&self) -> i32 {
        self.pid.map_or(0, |pid| pid.as_raw_nonzero().get())
    }
}

/// Writes the process for a message: `process 4711 of uid 1000`.
impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "process {} of uid {}", pid.as_raw_nonzero(), self.uid),
            None => write!(f, "a process of uid {} in another pid namespace", self.uid),
        }
    }
}

/// Whose process is accepted at the other end of a connection.
///
/// No rule accepts a uid that denotes several users (see [`KnownUids`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(
    clippy::exhaustive_enums,
    reason = "a new rule is a decision for every user of this type"
)]
pub enum Rule {
    /// The user of this process.
    Own,
    /// The user of this process, and root.
    OwnOrRoot,
    /// This user and no other.
    Uid(u32),
}

impl Rule {
    /// Returns `true` if a process of `uid` is accepted.
    #[must_use]
    pub fn accepts(self, uid: u32, known: &KnownUids) -> bool {
        let expected = match self {
            Self::Own => known.own(),
            Self::OwnOrRoot if uid == 0 => 0,
            Self::OwnOrRoot => known.own(),
            Self::Uid(expected) => expected,
        };
        uid == expected && !known.is_ambiguous(uid)
    }

    /// Checks the credentials of a peer.
    ///
    /// # Errors
    ///
    /// Returns [`ForeignPeer`] if the rule does not accept its uid.
    pub fn check(self, peer: Credentials, known: &KnownUids) -> Result<(), ForeignPeer> {
        if self.accepts(peer.uid, known) {
            return Ok(());
        }
        Err(ForeignPeer {
            uid: peer.uid,
            own: known.own(),
            is_ambiguous: known.is_ambiguous(peer.uid),
        })
    }
}

/// The user of the peer of a connection is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the process there belongs to uid {uid}{}, not to uid {own}", ambiguity(*.is_ambiguous))]
#[non_exhaustive]
pub struct ForeignPeer {
    /// The peer's uid.
    pub uid: u32,
    /// The uid of this process.
    pub own: u32,
    /// `true` if the peer's uid denotes several users of this user namespace.
    pub is_ambiguous: bool,
}

fn ambiguity(is_ambiguous: bool) -> &'static str {
    if is_ambiguous {
        " (in this user namespace the uid of every user without a mapping)"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    const FULL: Option<&str> = Some("0 0 4294967295\n");

    #[test]
    fn the_peer_of_a_socket_pair_is_this_process() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let peer = Credentials::of_peer(&ours).unwrap();
        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
        assert_eq!(peer.gid, rustix::process::getegid().as_raw());
        assert_eq!(peer.pid, Some(rustix::process::getpid()));
        assert_eq!(
            peer.raw_pid(),
            rustix::process::getpid().as_raw_nonzero().get()
        );
    }

    #[test]
    fn a_file_has_no_peer() {
        let file = tempfile::tempfile().unwrap();
        assert!(Credentials::of_peer(&file).is_err());
    }

    #[test]
    fn pid_zero_is_a_process_of_another_pid_namespace() {
        let peer = Credentials::new(7, 8, 0);
        assert_eq!((peer.pid, peer.raw_pid()), (None, 0));
        assert_eq!(
            peer.to_string(),
            "a process of uid 7 in another pid namespace"
        );
        assert_eq!(Credentials::new(7, 8, 9).to_string(), "process 9 of uid 7");
        assert_eq!(Credentials::new(7, 8, -1).pid, None);
    }

    #[test]
    fn each_rule_accepts_its_users_and_no_other() {
        let known = KnownUids::from_parts(1000, FULL, Some("65534"));
        let accepted = |rule: Rule| {
            [0, 1000, 1001, 65534]
                .into_iter()
                .filter(|&uid| rule.accepts(uid, &known))
                .collect::<Vec<_>>()
        };
        assert_eq!(accepted(Rule::Own), [1000]);
        assert_eq!(accepted(Rule::OwnOrRoot), [0, 1000]);
        assert_eq!(accepted(Rule::Uid(1001)), [1001]);
        assert_eq!(accepted(Rule::Uid(65534)), [65534]);
    }

    #[test]
    fn no_rule_accepts_the_uid_of_unmapped_users() {
        let known = KnownUids::from_parts(65534, Some("1000 1000 1\n"), Some("65534"));
        for rule in [Rule::Own, Rule::OwnOrRoot, Rule::Uid(65534)] {
            assert!(!rule.accepts(65534, &known), "{rule:?}");
        }
        let error = Rule::Own
            .check(Credentials::new(65534, 65534, 1), &known)
            .unwrap_err();
        assert!(error.is_ambiguous);
        assert_eq!(
            error.to_string(),
            "the process there belongs to uid 65534 (in this user namespace the uid of every user without a mapping), not to uid 65534"
        );
    }
}
