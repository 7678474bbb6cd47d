//! What the kernel says of a caller.

use std::collections::BTreeSet;
use std::fs;

use rustix::process::{Pid, getpgid, getpid, getuid};

/// The uid that stands for unmapped users unless the kernel names another one.
const DEFAULT_OVERFLOW_UID: u32 = 65534;

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
    /// The user with this uid. `ambiguous` is the uid that stands for several users: it is no user's, the daemon's own included.
    pub(crate) fn of(
        uid: u32,
        own: u32,
        ambiguous: Option<u32>,
        allow_uids: &BTreeSet<u32>,
    ) -> Self {
        if ambiguous == Some(uid) {
            Self::Other
        } else if uid == own {
            Self::Own
        } else if allow_uids.contains(&uid) {
            Self::Allowed
        } else {
            Self::Other
        }
    }
}

/// The uid that stands for every user without a mapping in the daemon's user namespace; `None` in the initial one, where each uid
/// is one user.
pub(crate) fn ambiguous_uid() -> Option<u32> {
    let map = fs::read_to_string("/proc/self/uid_map").ok();
    let overflow = fs::read_to_string("/proc/sys/kernel/overflowuid").ok();
    ambiguous_uid_of(map.as_deref(), overflow.as_deref())
}

/// Whether the daemon's own uid stands for other users as well, so that it must not serve.
pub(crate) fn own_uid_is_overflow() -> bool {
    ambiguous_uid() == Some(getuid().as_raw())
}

fn ambiguous_uid_of(uid_map: Option<&str>, overflow_uid: Option<&str>) -> Option<u32> {
    if uid_map.is_some_and(is_full_identity) {
        return None;
    }
    let overflow = overflow_uid.and_then(|text| text.trim().parse().ok());
    Some(overflow.unwrap_or(DEFAULT_OVERFLOW_UID))
}

fn is_full_identity(uid_map: &str) -> bool {
    let mut fields = uid_map.split_ascii_whitespace();
    fields.by_ref().take(3).eq(["0", "0", "4294967295"]) && fields.next().is_none()
}

/// Whether the process `pid` is in another pid namespace, or that cannot be told: it has no pid here, or `/proc` does not show it.
///
/// The pid may be reused, so the caller checks afterwards that the process is alive.
pub(crate) fn is_contained(pid: Option<Pid>) -> bool {
    let Some(pid) = pid.filter(|_| proc_shows_own_pids()) else {
        return true;
    };
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero()));
    status.map_or(true, |status| namespace_depth(&status) != Some(1))
}

/// The pid namespaces in which a process has a pid, from that of the reader downwards: the entries of `NSpid`. The name of the
/// process comes before and holds no line break, since the kernel escapes them.
fn namespace_depth(status: &str) -> Option<usize> {
    let pids = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?;
    Some(pids.split_ascii_whitespace().count())
}

/// `false` if `/proc` belongs to another pid namespace (`unshare --pid` without `--mount-proc`), where our pids name other
/// processes.
fn proc_shows_own_pids() -> bool {
    let own = getpid().as_raw_nonzero().to_string();
    fs::read_link("/proc/self").is_ok_and(|link| link.as_os_str() == own.as_str())
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

    const FULL: Option<&str> = Some("         0          0 4294967295\n");

    #[test]
    fn a_uid_is_ours_listed_or_a_stranger_root_included() {
        let allowed = BTreeSet::from([1001]);
        let user = |uid| User::of(uid, 1000, None, &allowed);
        assert_eq!(user(1000), User::Own);
        assert_eq!(user(1001), User::Allowed);
        assert_eq!(user(0), User::Other);
        assert_eq!(User::of(0, 1000, None, &BTreeSet::from([0])), User::Allowed);
    }

    #[test]
    fn an_ambiguous_uid_is_no_user_at_all() {
        let allowed = BTreeSet::from([65534]);
        assert_eq!(User::of(65534, 65534, Some(65534), &allowed), User::Other);
        assert_eq!(User::of(65534, 1000, Some(65534), &allowed), User::Other);
        assert_eq!(User::of(65534, 65534, None, &allowed), User::Own);
        assert_eq!(User::of(65534, 1000, None, &allowed), User::Allowed);
    }

    #[test]
    fn a_uid_is_ambiguous_unless_every_uid_is_mapped_to_itself() {
        assert_eq!(ambiguous_uid_of(FULL, Some("65534\n")), None);
        for map in [
            None,
            Some(""),
            Some("0 1000 1\n"),
            Some("0 0 4294967295\n7 7 1\n"),
        ] {
            assert_eq!(ambiguous_uid_of(map, Some("4000\n")), Some(4000), "{map:?}");
            assert_eq!(ambiguous_uid_of(map, None), Some(65534), "{map:?}");
        }
    }

    #[test]
    fn more_than_one_pid_means_another_namespace() {
        let status = |line: &str| format!("Name:\tNSpid: 1 2\nPid:\t7\n{line}VmPeak:\t1 kB\n");
        assert_eq!(namespace_depth(&status("NSpid:\t7\n")), Some(1));
        assert_eq!(namespace_depth(&status("NSpid:\t7\t1\n")), Some(2));
        assert_eq!(namespace_depth(&status("")), None);
    }

    #[test]
    fn a_process_without_a_pid_is_contained_and_a_child_is_not() {
        assert!(is_contained(None));
        let mut child = Command::new("sleep")
            .arg("600")
            .process_group(0)
            .spawn()
            .expect("sleep");
        let pid = Pid::from_child(&child);
        let (is_alive_contained, group) = (is_contained(Some(pid)), process_group(Some(pid)));
        child.kill().and_then(|()| child.wait()).expect("killed");
        assert!(!is_alive_contained);
        assert_eq!(group, Some(pid));
        assert!(is_contained(Some(pid)), "a process that has ended");
        assert_eq!(
            (process_group(Some(pid)), process_group(None)),
            (None, None)
        );
    }
}
