//! The users that this process can distinguish.

use std::fs;

/// The uid of unmapped users if the kernel does not report it.
const DEFAULT_OVERFLOW_UID: u32 = 65534;

/// The process's own uid, and the uid that denotes several users, if there is one.
///
/// In a user namespace every user without a mapping appears under the same *overflow uid*, including our own user if it
/// has no mapping. That uid identifies no user there, so it is never ours. In the initial user namespace it is an ordinary
/// uid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownUids {
    own: u32,
    /// The overflow uid; `None` in a user namespace that maps every uid to itself.
    ambiguous: Option<u32>,
}

impl KnownUids {
    /// Reads the effective uid and the mapping of this process's user namespace.
    ///
    /// If the mapping cannot be read, it counts as partial.
    #[must_use]
    pub fn read() -> Self {
        let map = fs::read_to_string("/proc/self/uid_map").ok();
        let overflow = fs::read_to_string("/proc/sys/kernel/overflowuid").ok();
        let own = rustix::process::geteuid().as_raw();
        Self::from_parts(own, map.as_deref(), overflow.as_deref())
    }

    /// Builds the value from the texts of `uid_map` and `overflowuid`; `None` means an unreadable file.
    #[must_use]
    pub fn from_parts(own: u32, uid_map: Option<&str>, overflow_uid: Option<&str>) -> Self {
        let overflow = overflow_uid.and_then(|text| text.trim().parse().ok());
        Self {
            own,
            ambiguous: (!uid_map.is_some_and(is_full_identity))
                .then_some(overflow.unwrap_or(DEFAULT_OVERFLOW_UID)),
        }
    }

    /// Returns our effective uid.
    #[must_use]
    pub fn own(&self) -> u32 {
        self.own
    }

    /// Returns `true` if `uid` is our own user for certain.
    #[must_use]
    pub fn is_own(&self, uid: u32) -> bool {
        uid == self.own && !self.is_ambiguous(uid)
    }

    /// Returns `true` if `uid` can denote any of the users that this user namespace does not map.
    #[must_use]
    pub fn is_ambiguous(&self, uid: u32) -> bool {
        self.ambiguous == Some(uid)
    }
}

/// Returns `true` if the mapping is that of the initial user namespace: every uid denotes itself.
fn is_full_identity(uid_map: &str) -> bool {
    let mut fields = uid_map.split_ascii_whitespace();
    fields.by_ref().take(3).eq(["0", "0", "4294967295"]) && fields.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = "         0          0 4294967295\n";

    #[test]
    fn the_overflow_uid_is_an_ordinary_one_where_every_uid_is_mapped() {
        let uids = KnownUids::from_parts(65534, Some(FULL), Some("65534\n"));
        assert!(uids.is_own(65534) && !uids.is_ambiguous(65534));
        assert!(!uids.is_own(0));
    }

    #[test]
    fn the_overflow_uid_is_never_ours_in_a_namespace_with_a_partial_map() {
        for map in [
            None,
            Some(""),
            Some("0 1000 1\n"),
            Some("0 0 4294967295\n7 7 1\n"),
        ] {
            let uids = KnownUids::from_parts(65534, map, Some("65534\n"));
            assert!(!uids.is_own(65534) && uids.is_ambiguous(65534), "{map:?}");
        }
        let uids = KnownUids::from_parts(1000, Some("1000 1000 1\n"), Some("4000\n"));
        assert!(uids.is_own(1000) && uids.is_ambiguous(4000) && !uids.is_ambiguous(65534));
        let unreadable = KnownUids::from_parts(1000, None, None);
        assert!(unreadable.is_ambiguous(65534));
    }

    #[test]
    fn our_own_uid_is_read_from_the_process() {
        assert_eq!(KnownUids::read().own(), rustix::process::geteuid().as_raw());
    }
}
