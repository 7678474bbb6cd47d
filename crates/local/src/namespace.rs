//! Refuses to run a daemon as an unmapped user of a user namespace.

use crate::uid::KnownUids;

/// The process has no mapped uid in its user namespace, so every other unmapped user has the same uid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "this user namespace maps no user to uid {uid}, so every user without a mapping has that uid and could read the secrets"
)]
#[non_exhaustive]
pub struct UnmappedUser {
    /// The uid of this process.
    pub uid: u32,
}

impl UnmappedUser {
    /// Returns the remedy, as a sentence without its full stop.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        "Run `keyway serve` outside of the namespace, or map your own uid (`unshare --map-current-user`)"
    }
}

/// Checks that the uid of this process denotes one user, which a daemon requires.
///
/// # Errors
///
/// Returns [`UnmappedUser`] if it denotes every user that the user namespace does not map.
pub fn check_user_namespace(known: &KnownUids) -> Result<(), UnmappedUser> {
    let uid = known.own();
    if known.is_ambiguous(uid) {
        return Err(UnmappedUser { uid });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_unmapped_uid_is_refused() {
        let check = |uid, map| check_user_namespace(&KnownUids::from_parts(uid, Some(map), None));
        assert_eq!(check(65534, "0 0 4294967295"), Ok(()));
        assert_eq!(check(1000, "1000 1000 1"), Ok(()));
        // As an image that runs as `nobody` maps it.
        for map in ["", "1000 1000 1", "65534 1000 1"] {
            let error = check(65534, map).unwrap_err();
            assert_eq!(error, UnmappedUser { uid: 65534 });
            assert!(error.to_string().contains("uid 65534"), "{error}");
        }
    }
}
