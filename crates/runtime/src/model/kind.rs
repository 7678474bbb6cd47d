//! The kind and the class of a plugin, and the order of providers.

use std::cmp::Reverse;

use keyway_secrets::Pattern;
use serde::{Deserialize, Serialize};

/// The kind of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Provides the secrets of these patterns, as registered or described, before the configuration cuts them.
    #[serde(with = "patterns")]
    Provider(Vec<Pattern>),
    /// Decides which callers may resolve, list and manage.
    AccessControl,
}

/// Patterns as their texts.
mod patterns {
    use keyway_secrets::Pattern;
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(
        patterns: &[Pattern],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(patterns.iter().map(Pattern::as_str))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Pattern>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let patterns = texts.iter().map(|text| text.parse());
        patterns.collect::<Result<_, _>>().map_err(D::Error::custom)
    }
}

/// The way in which the process of a plugin is started. The greater class comes first: launched before external.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Class {
    /// Started by the user; it connected to the daemon.
    External,
    /// Started by the daemon.
    Launched,
}

/// The position of a provider among the providers. The greater rank comes first; equal ranks decide together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Rank {
    /// `priority` of the configuration.
    pub(crate) priority: i64,
    /// Launched before external.
    pub(crate) class: Class,
    /// `true` if a response may ask the user or has an effect. Such a provider follows the others of its priority and class.
    pub(crate) interactive: bool,
}

impl Rank {
    fn key(self) -> (i64, Class, Reverse<bool>) {
        (self.priority, self.class, Reverse(self.interactive))
    }
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priority_outranks_class_and_class_outranks_interactive() {
        let rank = |priority, class, interactive| Rank {
            priority,
            class,
            interactive,
        };
        let descending = [
            rank(1, Class::External, true),
            rank(0, Class::Launched, false),
            rank(0, Class::Launched, true),
            rank(0, Class::External, false),
            rank(0, Class::External, true),
            rank(-1, Class::Launched, false),
        ];
        for pair in descending.windows(2) {
            assert!(pair[0] > pair[1], "{pair:?}");
        }
    }
}
