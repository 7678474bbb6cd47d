//! The ids and plugins of the running daemon, as far as it responds at once.

use std::collections::BTreeMap;
use std::time::Duration;

use keyway_local::escape_untrusted;
use keyway_resolver::{Pattern, ResolveError};
use tokio::time::timeout;

use crate::daemon::{self, Daemon};
use crate::failures::copyable;
use crate::globals::Globals;
use crate::inventory;

/// How long a look-up may take: a user who presses a key waits for it.
const TIMEOUT: Duration = Duration::from_millis(500);

/// The most ids that are shown. More become their next components, such as `web/`.
const MAX_IDS: usize = 100;

/// Looks names up at the daemon. A failure is an empty result.
pub(super) struct Lookup {
    globals: Globals,
}

/// A name, and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) about: String,
}

impl Lookup {
    /// Creates a look-up at the daemon that the options name.
    pub(super) fn new(globals: Globals) -> Self {
        Self { globals }
    }

    /// Returns the ids that begin with `beginning`, with their providers. No provider prompts for it.
    pub(super) fn ids(&self, beginning: &str) -> Vec<Named> {
        let Some(pattern) = pattern_of(beginning) else {
            return Vec::new();
        };
        let catalog = self.request(async |daemon| daemon.list(&pattern).await);
        let mut ids: BTreeMap<String, String> = BTreeMap::new();
        for entry in catalog.into_iter().flat_map(|catalog| catalog.entries) {
            let id = entry.id.to_string();
            if !id.starts_with(beginning) {
                continue;
            }
            let providers = ids.entry(id).or_default();
            if !providers.is_empty() {
                providers.push_str(", ");
            }
            providers.push_str(&escape_untrusted(&entry.provider));
        }
        let ids = ids.into_iter();
        let ids: Vec<Named> = ids.map(|(name, about)| Named { name, about }).collect();
        match ids.len() > MAX_IDS {
            true => next_components(&ids, beginning),
            false => ids,
        }
    }

    /// Returns the plugins with their states. A name that a shell could misread is left out.
    pub(super) fn plugins(&self) -> Vec<Named> {
        let plugins = self.request(async |daemon| inventory::list(daemon).await);
        let plugins = plugins.unwrap_or_default().into_iter();
        let plain = plugins.filter(|plugin| copyable(&plugin.name) == plugin.name);
        plain
            .map(|plugin| Named {
                about: plugin.status.word().to_owned(),
                name: plugin.name,
            })
            .collect()
    }

    fn request<T>(
        &self,
        request: impl AsyncFnOnce(&Daemon) -> Result<T, ResolveError>,
    ) -> Option<T> {
        daemon::with_client(&self.globals, async |daemon| {
            let daemon = daemon.with_may_ask_user(false);
            Ok(timeout(TIMEOUT, request(&daemon)).await)
        })
        .ok()?
        .ok()?
        .ok()
    }
}

/// Returns the pattern of all ids in the same place as `beginning`.
fn pattern_of(beginning: &str) -> Option<Pattern> {
    let place = beginning.rfind('/').map_or("", |at| &beginning[..=at]);
    format!("{place}**").parse().ok()
}

/// Cuts the ids behind the next `/`.
fn next_components(ids: &[Named], beginning: &str) -> Vec<Named> {
    let mut names: Vec<&str> = ids
        .iter()
        .map(|id| {
            let end = id.name[beginning.len()..].find('/');
            end.map_or(id.name.as_str(), |end| &id.name[..=beginning.len() + end])
        })
        .collect();
    names.dedup();
    let named = names.into_iter().map(|name| Named {
        name: name.to_owned(),
        about: String::new(),
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_is_that_of_the_place() {
        let pattern = |beginning| pattern_of(beginning).map(|pattern| pattern.to_string());
        assert_eq!(pattern("").as_deref(), Some("**"));
        assert_eq!(pattern("we").as_deref(), Some("**"));
        assert_eq!(pattern("web/t").as_deref(), Some("web/**"));
        assert_eq!(pattern("a b/"), None);
    }

    #[test]
    fn many_ids_become_their_next_components() {
        let ids = ["web", "web/a/1", "web/a/2", "web/b", "wide/x"].map(|name| Named {
            name: name.to_owned(),
            about: "file".to_owned(),
        });
        let names = |beginning: &str, ids: &[Named]| {
            let cut = next_components(ids, beginning).into_iter();
            cut.map(|named| named.name).collect::<Vec<_>>()
        };
        assert_eq!(names("w", &ids), ["web", "web/", "wide/"]);
        assert_eq!(names("web/", &ids[1..4]), ["web/a/", "web/b"]);
    }
}
