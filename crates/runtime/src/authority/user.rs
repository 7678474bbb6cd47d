//! Which user a caller is to the daemon.

use std::collections::BTreeSet;

use keyway_local::KnownUids;

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
    /// Returns the user with this uid. A uid that denotes several users belongs to none of them, not even if it is the
    /// daemon's own.
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

#[cfg(test)]
mod tests {
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
    fn an_ambiguous_uid_identifies_no_user() {
        let allowed = BTreeSet::from([65534]);
        let user = |own, map| User::of(65534, &known(own, map), &allowed);
        assert_eq!(user(65534, None), User::Other);
        assert_eq!(user(1000, None), User::Other);
        assert_eq!(user(65534, FULL), User::Own);
        assert_eq!(user(1000, FULL), User::Allowed);
    }
}
