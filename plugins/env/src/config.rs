//! The configuration: a map of ids to variables.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use keyway_plugin_sdk::{Id, ParseIdError, Pattern, SecretValue};

/// Environment variable that holds the configuration.
pub const SECRETS_VARIABLE: &str = "KEYWAY_ENV_SECRETS";

/// A map of ids to environment variables.
///
/// Written as `id=VARIABLE`, separated by commas, spaces or newlines:
///
/// ```
/// use keyway_plugin_env::Config;
///
/// let config = Config::parse("db/password=DB_PASSWORD, web/token=TOKEN")?;
/// assert_eq!(config.pattern().as_str(), "**");
/// # Ok::<(), keyway_plugin_env::ConfigError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    variables: BTreeMap<Id, String>,
}

/// Error of parsing a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// An id occurs twice.
    #[error("{SECRETS_VARIABLE} names `{id}` twice")]
    Duplicate {
        /// The id.
        id: Id,
    },
    /// An id is invalid.
    #[error("{SECRETS_VARIABLE} has an entry whose id `{id}` is invalid: {reason}")]
    Id {
        /// The text before the `=`.
        id: String,
        /// The error of the id, whose text is in the message.
        reason: ParseIdError,
    },
    /// An entry has no `=`.
    #[error("{SECRETS_VARIABLE} has an entry number {number} that is not `id=VARIABLE`")]
    NotAPair {
        /// Number of the entry, counted from one. The text is not printed: it may be a secret by mistake.
        number: usize,
    },
    /// The text after the `=` is not the name of a variable.
    #[error(
        "{SECRETS_VARIABLE} gives `{id}` something that is not the name of a variable (letters, digits and `_`)"
    )]
    Variable {
        /// The id. The text after the `=` is not printed: it may be a secret by mistake.
        id: Id,
    },
}

impl Config {
    /// Parses the text of [`SECRETS_VARIABLE`].
    ///
    /// # Errors
    ///
    /// Returns the [`ConfigError`] of the first invalid entry. It never holds the text after an `=`.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let separator = |c: char| c == ',' || c.is_whitespace();
        let entries = text.split(separator).filter(|entry| !entry.is_empty());
        let mut config = Self::default();
        for (index, entry) in entries.enumerate() {
            let (id, variable) = entry
                .split_once('=')
                .ok_or(ConfigError::NotAPair { number: index + 1 })?;
            let id: Id = id.parse().map_err(|reason| ConfigError::Id {
                id: id.to_owned(),
                reason,
            })?;
            if !is_variable(variable) {
                return Err(ConfigError::Variable { id });
            }
            if config.variables.contains_key(&id) {
                return Err(ConfigError::Duplicate { id });
            }
            config.variables.insert(id, variable.to_owned());
        }
        Ok(config)
    }

    /// Returns `true` if the map is empty.
    pub fn is_empty(&self) -> bool {
        self.variables.is_empty()
    }

    /// Returns the narrowest pattern of the form `a/b/**` that covers all ids; a single id is its own pattern.
    pub fn pattern(&self) -> Pattern {
        let mut ids = self.variables.keys();
        let Some(first) = ids.next() else {
            return empty_realm();
        };
        if ids.len() == 0 {
            return first.clone().into();
        }
        let mut common: Vec<&str> = first.components().collect();
        for id in ids {
            let shared = common
                .iter()
                .zip(id.components())
                .take_while(|(a, b)| **a == *b)
                .count();
            common.truncate(shared);
        }
        common.push("**");
        common
            .join("/")
            .parse()
            .expect("components of ids before `**` are a pattern")
    }

    /// Reads the environment: returns the values of the variables that are set, and the names of those that are not.
    pub fn read(
        &self,
        lookup: impl Fn(&str) -> Option<OsString>,
    ) -> (BTreeMap<Id, SecretValue>, BTreeMap<Id, String>) {
        let mut values = BTreeMap::new();
        let mut missing = BTreeMap::new();
        for (id, variable) in &self.variables {
            match lookup(variable) {
                // A value need not be UTF-8.
                Some(value) => {
                    values.insert(id.clone(), SecretValue::new(value.into_vec()));
                }
                None => {
                    missing.insert(id.clone(), variable.clone());
                }
            }
        }
        (values, missing)
    }
}

/// Returns a realm for a plugin without secrets, because a plugin must register a pattern.
fn empty_realm() -> Pattern {
    "env/**".parse().expect("a constant pattern")
}

fn is_variable(name: &str) -> bool {
    let mut characters = name.chars();
    characters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use proptest::prelude::*;

    use super::*;

    fn realm(text: &str) -> String {
        Config::parse(text).unwrap().pattern().to_string()
    }

    #[test]
    fn entries_are_separated_by_commas_spaces_and_newlines() {
        let config = Config::parse(" a=A,b/c=B_2\n\td=_X ,\n").unwrap();
        let expected = [("a", "A"), ("b/c", "B_2"), ("d", "_X")];
        let found: Vec<_> = config
            .variables
            .iter()
            .map(|(id, name)| (id.as_str(), name.as_str()))
            .collect();
        assert_eq!(found, expected);
        assert!(Config::parse(" ,\n").unwrap().is_empty());
    }

    #[test]
    fn the_realm_is_the_narrowest_prefix() {
        assert_eq!(realm("db/password=P"), "db/password");
        assert_eq!(realm("db/password=P,db/user=U"), "db/**");
        assert_eq!(realm("db/a/x=P,db/a/y=U,db/a=Q"), "db/a/**");
        assert_eq!(realm("db/password=P,web/token=T"), "**");
        assert_eq!(realm(""), "env/**");
    }

    #[test]
    fn errors_name_the_entry_without_its_value() {
        let message = |text| Config::parse(text).unwrap_err().to_string();
        assert_eq!(
            message("a=A,canary"),
            "KEYWAY_ENV_SECRETS has an entry number 2 that is not `id=VARIABLE`"
        );
        assert_eq!(
            message("a=canary-value"),
            "KEYWAY_ENV_SECRETS gives `a` something that is not the name of a variable (letters, digits and `_`)"
        );
        assert_eq!(message("a=A,a=B"), "KEYWAY_ENV_SECRETS names `a` twice");
        assert!(
            message("a//b=A")
                .starts_with("KEYWAY_ENV_SECRETS has an entry whose id `a//b` is invalid: ")
        );
    }

    #[test]
    fn values_are_read_as_bytes_and_missing_ones_are_named() {
        let config = Config::parse("raw=RAW,empty=EMPTY,none=NONE").unwrap();
        let raw = std::ffi::OsStr::from_bytes(&[0xff, 0x00, 0x80]);
        let (values, missing) = config.read(|name| match name {
            "RAW" => Some(raw.to_owned()),
            "EMPTY" => Some(OsString::new()),
            _ => None,
        });
        assert_eq!(
            values[&"raw".parse::<Id>().unwrap()].expose(),
            [0xff, 0x00, 0x80]
        );
        assert!(values[&"empty".parse::<Id>().unwrap()].is_empty());
        let none = ("none".parse().unwrap(), "NONE".to_owned());
        assert_eq!((values.len(), missing), (2, BTreeMap::from([none])));
    }

    proptest! {
        #[test]
        fn parse_never_panics(text in "[a-zA-Z_*/=, ]{0,40}") {
            let _ = Config::parse(&text);
        }

        #[test]
        fn the_realm_covers_every_id(ids in proptest::collection::btree_set("[ab](/[ab]){0,3}", 1..6)) {
            let text: Vec<String> = ids.iter().map(|id| format!("{id}=V")).collect();
            let realm = Config::parse(&text.join(",")).unwrap().pattern();
            for id in &ids {
                prop_assert!(realm.matches(&id.parse().unwrap()), "{realm} does not match {id}");
            }
        }

        #[test]
        fn no_error_holds_the_text_after_an_equals_sign(value in "canary[-+!?#]{1,5}") {
            let error = Config::parse(&format!("db/password={value}")).unwrap_err().to_string();
            prop_assert!(!error.contains("canary"), "{error}");
        }
    }
}
