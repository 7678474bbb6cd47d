//! What a user namespace with unmapped users means for a daemon, in words for its user.

use crate::uid::KnownUids;

/// Returns why a daemon must not run as the user of this process, if it must not: the process has no mapped uid in its
/// user namespace, so every other unmapped user has the same uid.
///
/// The text is two sentences: what is wrong, and what to do.
#[must_use]
pub fn user_namespace_problem() -> Option<String> {
    problem(&KnownUids::read())
}

fn problem(known: &KnownUids) -> Option<String> {
    let own = known.own();
    known.is_ambiguous(own).then(|| {
        format!(
            "this user namespace maps no user to uid {own}, so every user without a mapping has that uid and could read the \
             secrets. Run `keyway serve` outside of the namespace, or map your own uid (`unshare --map-current-user`)"
        )
    })
}

/// Returns what to say about a file or process that appears to belong to `uid`, if that uid stands for several users of
/// this user namespace.
///
/// The text is two sentences: what it means, and what helps.
#[must_use]
pub fn ambiguous_owner(uid: u32, known: &KnownUids) -> Option<String> {
    known.is_ambiguous(uid).then(|| {
        format!(
            "this is a user namespace, in which uid {uid} stands for every user without a mapping, root included. Run `keyway \
             serve` outside of it (programs inside reach the daemon at its path), or map the ids of the whole system"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_unmapped_uid_is_a_problem() {
        let full = Some("0 0 4294967295");
        assert_eq!(problem(&KnownUids::from_parts(65534, full, None)), None);
        let partial = Some("1000 1000 1");
        assert_eq!(problem(&KnownUids::from_parts(1000, partial, None)), None);
        let text = problem(&KnownUids::from_parts(65534, partial, None)).unwrap();
        assert!(text.contains("uid 65534") && text.contains("unshare --map-current-user"));
        // As an image that runs as `nobody` maps it.
        assert!(problem(&KnownUids::from_parts(65534, Some("65534 1000 1"), None)).is_some());
    }

    #[test]
    fn the_owner_of_a_file_of_an_unmapped_user_is_explained() {
        let known = KnownUids::from_parts(1000, Some("1000 1000 1"), None);
        let text = ambiguous_owner(65534, &known).unwrap();
        assert!(text.contains("user namespace") && text.contains("outside"));
        assert_eq!(ambiguous_owner(1000, &known), None);
    }
}
