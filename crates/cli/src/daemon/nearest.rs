//! The ids nearest to one that is not found.

use std::time::Duration;

use keyway_resolver::{Id, Pattern};
use strsim::osa_distance;
use tokio::time::timeout;

use super::Daemon;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{alternatives, uncapitalize};

/// How long the listing may take: it only adds to a message.
const TIMEOUT: Duration = Duration::from_millis(500);

/// The most ids that are named.
const MAX_IDS: usize = 3;

/// Adds the listed ids that are nearest to an id without a secret. No provider prompts for it, and the daemon lists what the
/// caller may see. A daemon that does not list its ids at once adds none.
pub(super) async fn with_nearest_ids(daemon: &Daemon, failure: Failure) -> Failure {
    let wanted = failure.id().and_then(|id| id.parse::<Id>().ok());
    let Some(wanted) = wanted.filter(|_| failure.exit() == Exit::NotFound) else {
        return failure;
    };
    let all: Pattern = "**".parse().expect("a valid pattern");
    let Ok(Ok(catalog)) = timeout(TIMEOUT, daemon.list(&all)).await else {
        return failure;
    };
    let listed = catalog.entries.iter().map(|entry| entry.id.as_str());
    match alternatives(&nearest(wanted.as_str(), listed)) {
        None => failure,
        Some(ids) => {
            let what = failure.what().to_owned();
            let advice = format!("Perhaps you mean {ids}; {}", uncapitalize(failure.advice()));
            failure.with_sentences(what, advice)
        }
    }
}

/// Returns the ids nearest to `wanted`, the nearest first: with other capitals, few other characters, or more in front. None if
/// `wanted` is listed itself, since something else is missing then.
fn nearest<'a>(wanted: &str, listed: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let lower = wanted.to_lowercase();
    let most = (wanted.len() / 4).max(1);
    let mut near: Vec<(usize, &str)> = Vec::new();
    for id in listed {
        if id == wanted {
            return Vec::new();
        }
        let is_end = id
            .strip_suffix(wanted)
            .is_some_and(|rest| rest.ends_with('/'));
        let could_fit = id.len().abs_diff(wanted.len()) <= most;
        let distance = match is_end {
            true => 0,
            false if could_fit => osa_distance(&lower, &id.to_lowercase()),
            false => continue,
        };
        if distance <= most {
            near.push((distance, id));
        }
    }
    near.sort_unstable();
    near.dedup();
    near.into_iter().take(MAX_IDS).map(|(_, id)| id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_ids_have_few_other_characters_or_more_in_front() {
        let listed = [
            "web/token",
            "web/token",
            "web/tokens",
            "db/password",
            "shop/web/token",
            "WEB/TOKEN2",
            "a",
        ];
        let near = |wanted: &str| nearest(wanted, listed.into_iter());
        assert_eq!(near("web/tokn"), ["web/token", "WEB/TOKEN2", "web/tokens"]);
        assert_eq!(
            near("Web/Tokens2"),
            ["WEB/TOKEN2", "web/tokens", "web/token"]
        );
        assert_eq!(near("token"), ["shop/web/token", "web/token"]);
        assert_eq!(near("password"), ["db/password"]);
        assert_eq!(near("b"), ["a"]);
        for wanted in ["web/token", "web/session", "vault/root", "xyz"] {
            assert_eq!(near(wanted), Vec::<&str>::new(), "{wanted}");
        }
    }
}
