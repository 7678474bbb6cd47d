//! The ids that denote management and writes in calls to access-control modules, and so never name a secret.

use std::sync::LazyLock;

use keyway_secrets::{Id, Pattern};

static RESERVED: LazyLock<[Pattern; 2]> = LazyLock::new(|| {
    ["keyway/manage/*/**", "keyway/write/*/**"]
        .map(|pattern| pattern.parse().expect("a constant pattern is valid"))
});

/// Returns `true` if `id` is never resolved, listed or stored: it denotes management or a write in calls to
/// access-control modules.
pub fn is_reserved(id: &Id) -> bool {
    RESERVED.iter().any(|pattern| pattern.matches(id))
}

/// Returns `true` if `pattern` matches reserved ids only, so that there is nothing to resolve.
pub(crate) fn is_within_reserved(pattern: &Pattern) -> bool {
    RESERVED.iter().any(|reserved| reserved.covers(pattern))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_below_the_two_reserved_prefixes_are_reserved() {
        for (id, expected) in [
            ("keyway/manage/stop", true),
            ("keyway/manage/enable/vault", true),
            ("keyway/write/db/password", true),
            ("keyway/write/keyway/write/a", true),
            ("keyway/manage", false),
            ("keyway/write", false),
            ("keyway", false),
            ("keyway/other/a", false),
            ("a/keyway/write/b", false),
        ] {
            assert_eq!(is_reserved(&id.parse().expect("an id")), expected, "{id}");
            let pattern: Pattern = id.parse().expect("a pattern");
            assert_eq!(is_within_reserved(&pattern), expected, "{id}");
        }
    }

    #[test]
    fn only_a_pattern_below_the_prefixes_matches_reserved_ids_alone() {
        for (pattern, is_within) in [
            ("**", false),
            ("keyway/**", false),
            ("*/*/stop", false),
            ("keyway/manage/**", false),
            ("keyway/manage/*", true),
            ("keyway/write/a/**", true),
            ("db/**", false),
            ("*/*", false),
        ] {
            let parsed: Pattern = pattern.parse().expect("a pattern");
            assert_eq!(is_within_reserved(&parsed), is_within, "{pattern}");
        }
    }
}
