//! Patterns: sets of ids, written as an id with wildcards.

mod canonical;
mod contain;
mod element;
mod intersect;
mod overlap;
mod product;
mod steps;

#[cfg(test)]
mod brute_force;

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::Id;
use crate::error::{ComponentError, ParsePatternError, validate_component};
use crate::limits::{self, validate_size};
use canonical::Canonical;
use element::elements;
use steps::Steps;

/// A set of ids: an id whose components may also be `*` (exactly one component) and `**` (zero or more components).
///
/// A wildcard is a whole component: `a*` and `***` are refused. The text is kept as written and compared as written;
/// `a/**` and `a/**/**` match the same ids but are not equal (use [`covers`](Self::covers) both ways for that).
///
/// A pattern has at most [`MAX_LEN`](Self::MAX_LEN) bytes and [`MAX_COMPONENTS`](Self::MAX_COMPONENTS) components, as an
/// [`Id`] has. Every operation is exact over all possible ids and takes at most 100,000 steps. For patterns of n and m
/// components `matches`, `overlaps` and `covers` take about n·m; `intersection` returns `None` if it would take more.
///
/// ```
/// use keyway_secrets::Pattern;
///
/// let tokens: Pattern = "**/token".parse()?;
/// assert!(tokens.matches(&"token".parse()?));
/// assert!(tokens.matches(&"registry/docker.io/token".parse()?));
/// assert!(!tokens.matches(&"token/old".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(Arc<str>);

impl Pattern {
    /// The length of the longest pattern and of the longest id, in bytes.
    pub const MAX_LEN: usize = limits::MAX_LEN;

    /// The most components of a pattern or an id.
    pub const MAX_COMPONENTS: usize = limits::MAX_COMPONENTS;

    /// Returns `**`, which matches every id.
    pub fn everything() -> Self {
        Self("**".into())
    }

    /// Returns the pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the components from left to right, wildcards included; there is at least one.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> + Clone {
        self.0.split('/')
    }

    /// Returns the id that this pattern names, or `None` if it has a wildcard.
    pub fn as_id(&self) -> Option<Id> {
        self.is_id().then(|| Id::from_valid(self.0.clone()))
    }

    /// Returns the pattern of the same ids below `prefix`. The limits apply before the prefix, which may exceed them.
    ///
    /// ```
    /// use keyway_secrets::Pattern;
    ///
    /// let pattern: Pattern = "db/*".parse()?;
    /// assert_eq!(pattern.below(&"keyway/write".parse()?).as_str(), "keyway/write/db/*");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn below(&self, prefix: &Id) -> Self {
        Self(format!("{prefix}/{self}").into())
    }

    fn is_id(&self) -> bool {
        !self.0.contains('*')
    }

    /// Returns `true` if `id` belongs to this set.
    pub fn matches(&self, id: &Id) -> bool {
        matches(&self.0, id.as_str(), &mut Steps::default())
    }

    /// Returns `true` if some id belongs to both sets.
    ///
    /// ```
    /// use keyway_secrets::Pattern;
    ///
    /// let realm: Pattern = "a/**/c".parse()?;
    /// assert!(realm.overlaps(&"a/b/**".parse()?));
    /// assert!(!realm.overlaps(&"b/**".parse()?));
    /// # Ok::<(), keyway_secrets::ParsePatternError>(())
    /// ```
    pub fn overlaps(&self, other: &Self) -> bool {
        overlaps(self, other, &mut Steps::default())
    }

    /// Returns `true` if every id of `other` belongs to this set too.
    ///
    /// ```
    /// use keyway_secrets::Pattern;
    ///
    /// let wide: Pattern = "a/**".parse()?;
    /// assert!(wide.covers(&"a/*/b".parse()?));
    /// assert!(!wide.covers(&"**/a".parse()?));
    /// # Ok::<(), keyway_secrets::ParsePatternError>(())
    /// ```
    pub fn covers(&self, other: &Self) -> bool {
        covers(self, other, &mut Steps::default())
    }

    /// Returns the pattern of exactly the ids that belong to both sets, if a single pattern describes them.
    ///
    /// Returns `None` if no id belongs to both (see [`overlaps`](Self::overlaps)) or if the common set takes more than
    /// one pattern: `**/a/**` and `**/b/**` share `a/b` and `b/a`, which no single pattern describes without a third
    /// id. Also returns `None` if the result would exceed the limits of a pattern, or finding it would take more than 100,000
    /// steps, which happens to patterns of many `**` only.
    ///
    /// ```
    /// use keyway_secrets::Pattern;
    ///
    /// let intersect = |a: &str, b: &str| -> Option<String> {
    ///     let (a, b): (Pattern, Pattern) = (a.parse().unwrap(), b.parse().unwrap());
    ///     a.intersection(&b).map(String::from)
    /// };
    /// assert_eq!(intersect("a/**", "a/*/b").as_deref(), Some("a/*/b"));
    /// assert_eq!(
    ///     intersect("**/mcp/auth/**", "docker/*/auth/foo/bar/*").as_deref(),
    ///     Some("docker/mcp/auth/foo/bar/*"),
    /// );
    /// assert_eq!(intersect("**/a/**", "**/b/**"), None);
    /// ```
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        intersection(self, other, &mut Steps::default())
    }
}

/// Return the results of the methods of [`Pattern`], with the steps counted. Patterns within their limits never take too many
/// steps for the first three; the value for that case is the one that grants nothing.
fn matches(pattern: &str, id: &str, steps: &mut Steps) -> bool {
    overlap::matches(pattern, id, steps).unwrap_or(false)
}

fn overlaps(left: &Pattern, right: &Pattern, steps: &mut Steps) -> bool {
    if right.is_id() {
        return matches(&left.0, &right.0, steps);
    }
    if left.is_id() {
        return matches(&right.0, &left.0, steps);
    }
    overlap::overlaps(&elements(&left.0), &elements(&right.0), steps).unwrap_or(false)
}

fn covers(wide: &Pattern, narrow: &Pattern, steps: &mut Steps) -> bool {
    if narrow.is_id() {
        return matches(&wide.0, &narrow.0, steps);
    }
    let (wide, narrow) = (Canonical::new(&wide.0), Canonical::new(&narrow.0));
    contain::covers(&wide, &narrow, steps).unwrap_or(false)
}

fn intersection(left: &Pattern, right: &Pattern, steps: &mut Steps) -> Option<Pattern> {
    if covers(left, right, steps) {
        return Some(right.clone());
    }
    if right.is_id() {
        // It is not in the other set.
        return None;
    }
    if covers(right, left, steps) {
        return Some(left.clone());
    }
    let text = intersect::intersection(&left.0, &right.0, steps)?;
    Some(Pattern(text.into()))
}

fn validate(text: &str) -> Result<(), ParsePatternError> {
    if text.is_empty() {
        return Err(ParsePatternError::Empty);
    }
    validate_size(text)?;
    for (index, part) in text.split('/').enumerate() {
        let component = index + 1;
        if matches!(part, "*" | "**") {
            continue;
        }
        validate_component(part).map_err(|error| match error {
            ComponentError::Empty => ParsePatternError::EmptyComponent { component },
            ComponentError::InvalidCharacter('*') => ParsePatternError::MixedWildcard { component },
            ComponentError::InvalidCharacter(character) => ParsePatternError::InvalidCharacter {
                component,
                character,
            },
        })?;
    }
    Ok(())
}

impl FromStr for Pattern {
    type Err = ParsePatternError;

    fn from_str(text: &str) -> Result<Self, ParsePatternError> {
        validate(text)?;
        Ok(Self(text.into()))
    }
}

impl TryFrom<&str> for Pattern {
    type Error = ParsePatternError;

    fn try_from(text: &str) -> Result<Self, ParsePatternError> {
        text.parse()
    }
}

impl TryFrom<String> for Pattern {
    type Error = ParsePatternError;

    fn try_from(text: String) -> Result<Self, ParsePatternError> {
        text.parse()
    }
}

impl From<Id> for Pattern {
    fn from(id: Id) -> Self {
        Self(id.into_text())
    }
}

impl From<&Id> for Pattern {
    fn from(id: &Id) -> Self {
        id.clone().into()
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.as_str().to_owned()
    }
}

impl AsRef<str> for Pattern {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Pattern {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_patterns_parse_and_invalid_ones_report_the_component() {
        for good in ["a", "*", "**", "a/*/b/**", "**/**", "docker.io/x_y/z:1-2"] {
            assert_eq!(good.parse::<Pattern>().unwrap().to_string(), good);
        }
        let error = |text: &str| text.parse::<Pattern>().unwrap_err();
        assert_eq!(error(""), ParsePatternError::Empty);
        assert_eq!(
            error("/**"),
            ParsePatternError::EmptyComponent { component: 1 }
        );
        assert_eq!(
            error("**/"),
            ParsePatternError::EmptyComponent { component: 2 }
        );
        assert_eq!(
            error("a//b"),
            ParsePatternError::EmptyComponent { component: 2 }
        );
        for mixed in ["a*", "*a", "***", "****", "a**b"] {
            assert_eq!(
                error(mixed),
                ParsePatternError::MixedWildcard { component: 1 }
            );
        }
        assert_eq!(
            error("a/?"),
            ParsePatternError::InvalidCharacter {
                component: 2,
                character: '?'
            }
        );
    }

    #[test]
    fn texts_beyond_the_limits_are_refused() {
        let deep = |components: usize| ["a"; 1].repeat(components).join("/");
        for text in [deep(128), "a".repeat(4096)] {
            assert!(text.parse::<Pattern>().is_ok() && text.parse::<Id>().is_ok());
        }
        for (text, components) in [
            (deep(129), 129),
            ("a".repeat(4097), 1),
            ("a".repeat(16 << 20), 1),
            (deep(1_000_000), 1_000_000),
        ] {
            let len = text.len();
            let pattern = text.parse::<Pattern>().unwrap_err();
            assert_eq!(pattern, ParsePatternError::TooLong { len, components });
            let id = text.parse::<Id>().unwrap_err();
            assert_eq!(id, crate::ParseIdError::TooLong { len, components });
        }
        assert_eq!(
            deep(129).parse::<Pattern>().unwrap_err().to_string(),
            "257 bytes and 129 components are too long: a pattern has at most 4096 bytes and 128 components"
        );
    }

    #[test]
    fn an_id_converts_to_a_pattern_that_matches_only_it() {
        let id: Id = "a/b".parse().unwrap();
        let pattern = Pattern::from(&id);
        assert_eq!(pattern.as_id(), Some(id.clone()));
        assert!(pattern.matches(&id) && !pattern.matches(&"a".parse().unwrap()));
        assert_eq!(Pattern::everything().as_id(), None);
    }
}
