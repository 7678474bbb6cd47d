//! The rules of a registration and of a plugin's description, shared by the daemon, the plugin SDK and its test kit.

use keyway_secrets::{ParsePatternError, Pattern};
use prost::{DecodeError, Message as _};

use crate::keyway::v1::PluginDescription;
use crate::limits::{
    DEFAULT_CONCURRENCY, MAX_CONCURRENCY, MAX_DESCRIPTION_LEN, MAX_DESCRIPTION_TEXT_LEN,
    MAX_NAME_LEN, MAX_REALM_PATTERNS, MAX_VERSION_LEN,
};

/// The rule that a registration breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRegistration {
    /// The description is invalid.
    #[error(transparent)]
    Description(#[from] InvalidDescription),
    /// The name is too long.
    #[error("the name has {len} bytes; at most {MAX_NAME_LEN} are allowed")]
    NameTooLong {
        /// Its length.
        len: usize,
    },
    /// The name is empty.
    #[error("the registration names no plugin")]
    NoName,
    /// The pattern is invalid.
    #[error("the registered pattern is invalid")]
    Pattern(#[from] InvalidPattern),
    /// The version is not a Go semantic version.
    #[error("the version {version:?} is not a Go semantic version like v1.2.3")]
    Version {
        /// At most 64 characters of it.
        version: String,
    },
}

/// The text of a peer is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pattern:?} is not an id or a pattern")]
#[non_exhaustive]
pub struct InvalidPattern {
    /// At most 64 characters of it.
    pub pattern: String,
    /// The fault.
    pub source: ParsePatternError,
}

/// The rule that a plugin's description breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidDescription {
    /// The number of concurrent calls is out of range.
    #[error("the description gives a concurrency of {given}; it must be 1 to {MAX_CONCURRENCY}")]
    Concurrency {
        /// The number that it gives.
        given: u32,
    },
    /// The bytes are not a [`PluginDescription`].
    #[error("the description cannot be decoded")]
    Encoding(#[from] DecodeError),
    /// A pattern lies outside of the registered one.
    #[error("the described pattern {pattern} is not within the registered pattern {registered}")]
    Outside {
        /// The described pattern.
        pattern: Pattern,
        /// The registered pattern.
        registered: Pattern,
    },
    /// A pattern is invalid.
    #[error("a described pattern is invalid")]
    Pattern(#[from] InvalidPattern),
    /// A text is too long.
    #[error(
        "the field `{field}` of the description has {len} bytes; at most {MAX_DESCRIPTION_TEXT_LEN} are allowed"
    )]
    TextTooLong {
        /// The name of the field.
        field: &'static str,
        /// Its length.
        len: usize,
    },
    /// The description as a whole is too long.
    #[error("the description has {len} bytes; at most {MAX_DESCRIPTION_LEN} are allowed")]
    TooLong {
        /// Its length.
        len: usize,
    },
    /// There are too many patterns.
    #[error("the description has {count} patterns; at most {MAX_REALM_PATTERNS} are allowed")]
    TooManyPatterns {
        /// The number of patterns.
        count: usize,
    },
}

/// Checks a registration and returns its pattern. An access-control module registers without one.
///
/// # Errors
///
/// Returns the first rule that is broken.
pub fn check_registration(
    name: &str,
    version: &str,
    pattern: Option<&str>,
) -> Result<Option<Pattern>, InvalidRegistration> {
    if name.is_empty() {
        return Err(InvalidRegistration::NoName);
    }
    if name.len() > MAX_NAME_LEN {
        return Err(InvalidRegistration::NameTooLong { len: name.len() });
    }
    if version.len() > MAX_VERSION_LEN || !is_go_semver(version) {
        let version = shorten(version);
        return Err(InvalidRegistration::Version { version });
    }
    Ok(pattern.map(check_pattern).transpose()?)
}

/// Parses a pattern of a peer; an error repeats a part of it only.
///
/// # Errors
///
/// Returns [`InvalidPattern`] if the text is not a pattern, or exceeds the limits of one.
pub fn check_pattern(text: &str) -> Result<Pattern, InvalidPattern> {
    text.parse().map_err(|source| InvalidPattern {
        pattern: shorten(text),
        source,
    })
}

/// Parses a pattern about which an access-control module is consulted: the limits apply before the prefix `keyway/write`, which
/// denotes a write.
///
/// # Errors
///
/// Returns [`InvalidPattern`] as [`check_pattern`] does.
pub fn access_pattern(text: &str) -> Result<Pattern, InvalidPattern> {
    let Some(id) = text.strip_prefix("keyway/write/") else {
        return check_pattern(text);
    };
    let prefix = "keyway/write".parse().expect("a constant id is valid");
    Ok(check_pattern(id)?.below(&prefix))
}

/// Returns the pattern that a plugin registers for a realm of several patterns: the one, or their common leading components
/// and `**`. `None` without a pattern.
///
/// ```
/// use keyway_proto::registration::common_pattern;
///
/// let realm = ["db/prod/*".parse()?, "db/test/**".parse()?];
/// assert_eq!(common_pattern(&realm), Some("db/**".parse()?));
/// # Ok::<(), keyway_secrets::ParsePatternError>(())
/// ```
#[must_use]
pub fn common_pattern(patterns: &[Pattern]) -> Option<Pattern> {
    let (first, others) = patterns.split_first()?;
    if others.is_empty() {
        return Some(first.clone());
    }
    let mut common: Vec<&str> = first.components().collect();
    for other in others {
        let shared = common.iter().zip(other.components());
        let shared = shared.take_while(|(a, b)| **a == *b).count();
        common.truncate(shared);
    }
    let mut text = String::from("**");
    // Of patterns at their limits as many components as leave space for `**`.
    for n in (0..=common.len().min(Pattern::MAX_COMPONENTS - 1)).rev() {
        common.truncate(n);
        text = [common.as_slice(), &["**"]].concat().join("/");
        if text.len() <= Pattern::MAX_LEN {
            break;
        }
    }
    Some(
        text.parse()
            .expect("components of patterns before `**` are a pattern"),
    )
}

impl PluginDescription {
    /// Decodes the value of the header [`DESCRIBE_HEADER`](crate::DESCRIBE_HEADER).
    ///
    /// # Errors
    ///
    /// Returns [`InvalidDescription::TooLong`] or [`InvalidDescription::Encoding`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidDescription> {
        check_len(bytes.len())?;
        Ok(Self::decode(bytes)?)
    }

    /// Checks the description of a plugin with this registered pattern, and returns its realm: the described patterns, or the
    /// registered one if none is described.
    ///
    /// # Errors
    ///
    /// Returns the first rule that is broken.
    pub fn check(&self, registered: &Pattern) -> Result<Vec<Pattern>, InvalidDescription> {
        check_len(self.encoded_len())?;
        for (field, text) in [
            ("description", self.description()),
            ("homepage", self.homepage()),
        ] {
            if text.len() > MAX_DESCRIPTION_TEXT_LEN {
                let len = text.len();
                return Err(InvalidDescription::TextTooLong { field, len });
            }
        }
        let given = self.concurrency.unwrap_or(DEFAULT_CONCURRENCY);
        if !(1..=MAX_CONCURRENCY).contains(&given) {
            return Err(InvalidDescription::Concurrency { given });
        }
        if self.patterns.is_empty() {
            return Ok(vec![registered.clone()]);
        }
        self.check_patterns(registered)
    }

    fn check_patterns(&self, registered: &Pattern) -> Result<Vec<Pattern>, InvalidDescription> {
        let count = self.patterns.len();
        if count > MAX_REALM_PATTERNS {
            return Err(InvalidDescription::TooManyPatterns { count });
        }
        let mut realm = Vec::with_capacity(count);
        for text in &self.patterns {
            let pattern = check_pattern(text)?;
            if !registered.covers(&pattern) {
                return Err(InvalidDescription::Outside {
                    pattern,
                    registered: registered.clone(),
                });
            }
            realm.push(pattern);
        }
        Ok(realm)
    }
}

fn check_len(len: usize) -> Result<(), InvalidDescription> {
    match len > MAX_DESCRIPTION_LEN {
        true => Err(InvalidDescription::TooLong { len }),
        false => Ok(()),
    }
}

/// Returns at most 64 characters of a peer's text, for a message.
pub(crate) fn shorten(text: &str) -> String {
    text.chars().take(64).collect()
}

/// Returns `true` if Go's `semver.IsValid` accepts the text: `v1`, `v1.2`, `v1.2.3-rc.1+build`. The leading `v` is required.
#[must_use]
pub fn is_go_semver(text: &str) -> bool {
    let Some(text) = text.strip_prefix('v') else {
        return false;
    };
    let (text, build) = split_suffix(text, '+');
    let (numbers, prerelease) = split_suffix(text, '-');
    let numbers: Vec<&str> = numbers.split('.').collect();
    // Go knows no shorthand with a suffix: `v1-rc` is not valid.
    let has_suffix = build.is_some() || prerelease.is_some();
    let right_count = if has_suffix {
        numbers.len() == 3
    } else {
        numbers.len() <= 3
    };
    right_count
        && numbers.iter().all(|number| is_number(number))
        && prerelease.is_none_or(|text| {
            text.split('.')
                .all(|part| is_identifier(part) && !has_leading_zero(part))
        })
        && build.is_none_or(|text| text.split('.').all(is_identifier))
}

fn split_suffix(text: &str, separator: char) -> (&str, Option<&str>) {
    text.split_once(separator)
        .map_or((text, None), |(head, tail)| (head, Some(tail)))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && !has_leading_zero(text)
}

fn has_leading_zero(text: &str) -> bool {
    text.len() > 1 && text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_identifier(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !text.is_empty() && text.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use keyway_test_support::assert_causes_said_once;
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    /// Returns the texts of the error and its causes.
    fn fault(name: &str, version: &str, pattern: Option<&str>) -> String {
        let error = check_registration(name, version, pattern).unwrap_err();
        let error: &(dyn Error + 'static) = &error;
        let chain = std::iter::successors(Some(error), |&error| error.source());
        chain
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(": ")
    }

    #[test]
    fn go_semver_accepts_the_versions_of_go() {
        for good in [
            "v1",
            "v1.2",
            "v1.2.3",
            "v0.0.0",
            "v1.2.3-rc.1+build",
            "v1.2.3+01",
            "v1.2.3--",
            "v10.20.30-a.b-c",
        ] {
            assert!(is_go_semver(good), "{good}");
        }
        for bad in [
            "",
            "1.2.3",
            "v",
            "v1.",
            "v01",
            "v1.2.3.4",
            "v1.2.3-",
            "v1.2.3+",
            "v1-rc",
            "v1.2+b",
            "v1.2.3-01",
            "v1.2.3-a_b",
            "V1",
            "v1.2.x",
        ] {
            assert!(!is_go_semver(bad), "{bad}");
        }
    }

    #[test]
    fn each_rule_of_a_registration_has_an_error() {
        let longest = "n".repeat(MAX_NAME_LEN);
        let realm = check_registration(&longest, "v1.2.3", Some("demo/**"));
        assert_eq!(realm, Ok(Some(pattern("demo/**"))));
        assert_eq!(check_registration("guard", "v1", None), Ok(None));
        assert_eq!(fault("", "v1", None), "the registration names no plugin");
        assert_eq!(
            fault(&"n".repeat(257), "v1", None),
            "the name has 257 bytes; at most 256 are allowed"
        );
        assert_eq!(
            fault("demo", "1.2.3", None),
            "the version \"1.2.3\" is not a Go semantic version like v1.2.3"
        );
        let version = |len: usize| format!("v1.2.3-{}", "a".repeat(len - 7));
        assert_eq!(check_registration("demo", &version(256), None), Ok(None));
        for len in [257, 300, 16 << 20] {
            let text = fault("demo", &version(len), None);
            assert!(text.ends_with("is not a Go semantic version like v1.2.3"));
            assert!(text.len() < 200, "{text}");
        }
        for name in ["n".repeat(16 << 20), "\u{7}".repeat(1000)] {
            assert!(fault(&name, "v1", None).ends_with("at most 256 are allowed"));
        }
        for pattern in [
            ["a"; 1000].join("/"),
            "a".repeat(100 << 10),
            "a/".repeat(2 << 20),
        ] {
            let text = fault("demo", "v1", Some(&pattern));
            assert!(
                text.contains("are too long: a pattern has at most"),
                "{text}"
            );
            assert!(text.len() < 300, "{text}");
        }
        assert!(fault("demo", "v1", Some("a//b")).starts_with(
            "the registered pattern is invalid: \"a//b\" is not an id or a pattern: "
        ));
        let deep = ["a"; 129].join("/");
        assert!(
            fault("demo", "v1", Some(&deep)).contains("257 bytes and 129 components are too long")
        );
    }

    #[test]
    fn the_limits_of_a_pattern_apply_before_the_prefix_of_a_write() {
        let id = |components: usize| vec!["a"; components].join("/");
        for (text, is_valid) in [
            (id(128), true),
            (id(129), false),
            (format!("keyway/write/{}", id(128)), true),
            (format!("keyway/write/{}", id(129)), false),
            (format!("keyway/write/{}", "a".repeat(16 << 20)), false),
        ] {
            match access_pattern(&text) {
                Ok(pattern) => assert!(is_valid && pattern.as_str() == text),
                Err(error) => assert!(!is_valid && error.to_string().len() < 300, "{error}"),
            }
        }
    }

    #[test]
    fn the_realm_is_the_described_or_else_the_registered_patterns() {
        let registered = pattern("db/**");
        let mut description = PluginDescription::default();
        assert_eq!(description.check(&registered), Ok(vec![registered.clone()]));
        description.patterns = vec!["db/*".to_owned(); 64];
        assert_eq!(
            description.check(&registered).map(|realm| realm.len()),
            Ok(64)
        );
        description.patterns = vec!["db/prod/*".to_owned(), "db/test/**".to_owned()];
        assert_eq!(
            description.check(&registered),
            Ok(vec![pattern("db/prod/*"), pattern("db/test/**")])
        );
    }

    #[test]
    fn each_rule_of_a_description_has_an_error() {
        type Change = fn(&mut PluginDescription);
        let rows: [(Change, &str); 7] = [
            (
                |description| description.concurrency = Some(0),
                "the description gives a concurrency of 0; it must be 1 to 1024",
            ),
            (
                |description| description.concurrency = Some(1025),
                "the description gives a concurrency of 1025; it must be 1 to 1024",
            ),
            (
                |description| description.homepage = Some("h".repeat(257)),
                "the field `homepage` of the description has 257 bytes; at most 256 are allowed",
            ),
            (
                |description| description.patterns = vec!["db/*".to_owned(); 65],
                "the description has 65 patterns; at most 64 are allowed",
            ),
            (
                |description| description.patterns = vec!["**".to_owned()],
                "the described pattern ** is not within the registered pattern db/**",
            ),
            (
                |description| description.patterns = vec!["db/*x".to_owned()],
                "a described pattern is invalid",
            ),
            (
                |description| description.patterns = vec![format!("db/{}", "a".repeat(9000))],
                "the description has 9006 bytes; at most 8192 are allowed",
            ),
        ];
        for (change, words) in rows {
            let mut description = PluginDescription::default();
            change(&mut description);
            let error = description.check(&pattern("db/**")).unwrap_err();
            assert!(error.to_string().starts_with(words), "{error}");
        }
    }

    #[test]
    fn bytes_of_a_description_are_bounded_and_decoded() {
        let description = PluginDescription {
            concurrency: Some(3),
            ..PluginDescription::default()
        };
        let bytes = description.encode_to_vec();
        assert_eq!(PluginDescription::from_bytes(&bytes), Ok(description));
        assert!(matches!(
            PluginDescription::from_bytes(&[0xff]),
            Err(InvalidDescription::Encoding(_))
        ));
        assert!(matches!(
            PluginDescription::from_bytes(&[0; 8193]),
            Err(InvalidDescription::TooLong { len: 8193 })
        ));
    }

    #[test]
    fn the_common_pattern_is_the_only_one_or_the_common_leading_components() {
        let common = |texts: &[&str]| {
            let patterns: Vec<Pattern> = texts.iter().map(|text| pattern(text)).collect();
            common_pattern(&patterns).map(|pattern| pattern.to_string())
        };
        assert_eq!(common(&[]), None);
        assert_eq!(common(&["a/b"]).as_deref(), Some("a/b"));
        assert_eq!(common(&["a/b", "a/b/**"]).as_deref(), Some("a/b/**"));
        assert_eq!(common(&["a/*/x", "a/*/y"]).as_deref(), Some("a/*/**"));
        assert_eq!(common(&["a/x", "b/x"]).as_deref(), Some("**"));
        let (deepest, longest) = (["a"; 128].join("/"), "a".repeat(4096));
        let widened = format!("{}/**", ["a"; 127].join("/"));
        assert_eq!(common(&[&deepest, &deepest]), Some(widened));
        assert_eq!(common(&[&longest, &longest]).as_deref(), Some("**"));
    }

    proptest! {
        #[test]
        fn the_common_pattern_covers_each(texts in proptest::collection::vec("(a|b|\\*|\\*\\*)(/(a|b|\\*|\\*\\*)){0,3}", 1..5)) {
            let patterns: Vec<Pattern> = texts.iter().map(|text| pattern(text)).collect();
            let common = common_pattern(&patterns).unwrap();
            for pattern in &patterns {
                prop_assert!(common.covers(pattern), "{common} does not cover {pattern}");
            }
        }
    }

    #[test]
    fn no_error_contains_the_text_of_its_cause() {
        let registered = check_registration("a", "v1", Some("a//b")).unwrap_err();
        let described = InvalidDescription::Pattern(check_pattern("a//b").unwrap_err());
        let encoding =
            InvalidDescription::from(PluginDescription::decode(&[7_u8][..]).unwrap_err());
        let errors: [&dyn Error; 3] = [&registered, &described, &encoding];
        for error in errors {
            assert!(error.source().is_some(), "{error}");
            assert_causes_said_once(error);
        }
    }
}
