//! What the kernel says of a caller.

use std::collections::BTreeSet;

use keyway_local::KnownUids;
use rustix::process::{Pid, getpgid};

/// Which user a caller is to the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    /// The daemon's own.
    Own,
    /// One of `allow_uids`.
    Allowed,
    /// Any other, root included.
    Other,
}

impl User {
    /// The user with this uid. A uid that stands for several users is no user's, the daemon's own included.
    pub(crate) fn of(uid: u32, known: &KnownUids, allow_uids: &BTreeSet<u32>) -> Self {
        if known.is_ambiguous(uid) {
            Self::Other
        } else if known.is_own(uid) {
            Self::Own
        } else if allow_uids.contains(&uid) {
            Self::Allowed
        } else {
            Self::Other
        }
    }
}

/// The process group of `pid`, which for a process of a launched plugin is the pid of that plugin; `None` if the process has ended
/// or has no pid here.
pub(crate) fn process_group(pid: Option<Pid>) -> Option<Pid> {
    getpgid(Some(pid?)).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use super::*;

    const FULL: Option<&str> = Some("0 0 4294967295");

    fn known(own: u32, uid_map: Option<&str>) -> KnownUids {
        KnownUids::from_parts(own, uid_map, Some("65534"))
    }

    #[test]
    fn a_uid_is_own_allowed_or_other_root_included() {
        let allowed = BTreeSet::from([1001]);
        let user = |uid| User::of(uid, &known(1000, FULL), &allowed);
        assert_eq!(user(1000), User::Own);
        assert_eq!(user(1001), User::Allowed);
        assert_eq!(user(0), User::Other);
        let root = BTreeSet::from([0]);
        assert_eq!(User::of(0, &known(1000, FULL), &root), User::Allowed);
    }

    #[test]
    fn an_ambiguous_uid_is_no_user_at_all() {
        let allowed = BTreeSet::from([65534]);
        let user = |own, map| User::of(65534, &known(own, map), &allowed);
        assert_eq!(user(65534, None), User::Other);
        assert_eq!(user(1000, None), User::Other);
        assert_eq!(user(65534, FULL), User::Own);
        assert_eq!(user(1000, FULL), User::Allowed);
    }

    #[test]
    fn a_child_has_the_group_that_it_was_started_in() {
        let mut child = Command::new("sleep")
            .arg("600")
            .process_group(0)
            .spawn()
            .expect("sleep");
        let pid = Pid::from_child(&child);
        let group = process_group(Some(pid));
        child.kill().and_then(|()| child.wait()).expect("killed");
        assert_eq!(group, Some(pid));
        assert_eq!(
            (process_group(Some(pid)), process_group(None)),
            (None, None)
        );
    }
}
