//! The name of one secret.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::{ComponentError, ParseIdError, validate_component};
use crate::limits::validate_size;

/// The name of one secret: components joined by `/`.
///
/// A component is one or more of `A-Z a-z 0-9 . _ : -`; there is no empty component, so no leading, trailing or
/// double `/`. An id has at most 4096 bytes and 128 components, as a [`Pattern`](crate::Pattern) has. Ids are compared byte by byte: case matters and nothing is normalised. A clone shares the text.
///
/// ```
/// use keyway_secrets::Id;
///
/// let id: Id = "registry/docker.io/token".parse()?;
/// assert_eq!(id.components().collect::<Vec<_>>(), ["registry", "docker.io", "token"]);
/// assert!("registry//token".parse::<Id>().is_err());
/// # Ok::<(), keyway_secrets::ParseIdError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(Arc<str>);

impl Id {
    /// Returns the id as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the components from left to right; there is at least one.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> + Clone {
        self.0.split('/')
    }

    /// Creates an id from text that is known to be valid: a pattern without wildcards.
    pub(crate) fn from_valid(text: Arc<str>) -> Self {
        debug_assert!(validate(&text).is_ok());
        Self(text)
    }

    pub(crate) fn into_text(self) -> Arc<str> {
        self.0
    }
}

fn validate(text: &str) -> Result<(), ParseIdError> {
    if text.is_empty() {
        return Err(ParseIdError::Empty);
    }
    validate_size(text)?;
    for (index, part) in text.split('/').enumerate() {
        let component = index + 1;
        validate_component(part).map_err(|error| match error {
            ComponentError::Empty => ParseIdError::EmptyComponent { component },
            ComponentError::InvalidCharacter(character) => ParseIdError::InvalidCharacter {
                component,
                character,
            },
        })?;
    }
    Ok(())
}

impl FromStr for Id {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        validate(text)?;
        Ok(Self(text.into()))
    }
}

impl TryFrom<&str> for Id {
    type Error = ParseIdError;

    fn try_from(text: &str) -> Result<Self, ParseIdError> {
        text.parse()
    }
}

impl TryFrom<String> for Id {
    type Error = ParseIdError;

    fn try_from(text: String) -> Result<Self, ParseIdError> {
        text.parse()
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.as_str().to_owned()
    }
}

impl AsRef<str> for Id {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Id {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({:?})", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn valid_ids_parse_and_invalid_ones_report_the_component() {
        for good in ["a", "A/b/9", "docker.io/x_y/z:1-2", ".", "..", "-"] {
            assert_eq!(good.parse::<Id>().unwrap().to_string(), good);
        }
        let error = |text: &str| text.parse::<Id>().unwrap_err();
        assert_eq!(error(""), ParseIdError::Empty);
        assert_eq!(error("/a"), ParseIdError::EmptyComponent { component: 1 });
        assert_eq!(error("a/"), ParseIdError::EmptyComponent { component: 2 });
        assert_eq!(error("a//b"), ParseIdError::EmptyComponent { component: 2 });
        for (text, character) in [
            ("a/b c", ' '),
            ("a/*", '*'),
            ("a/\u{e9}", '\u{e9}'),
            ("a/b\n", '\n'),
            ("a/\0", '\0'),
        ] {
            assert_eq!(
                error(text),
                ParseIdError::InvalidCharacter {
                    component: 2,
                    character
                }
            );
        }
    }

    proptest! {
        #[test]
        fn parsing_keeps_the_text_or_fails(text in "[a-c/*. ]{0,8}") {
            match text.parse::<Id>() {
                Ok(id) => {
                    prop_assert_eq!(id.as_str(), text.as_str());
                    prop_assert_eq!(id.components().collect::<Vec<_>>().join("/"), text);
                }
                Err(_) => prop_assert!(
                    text.split('/').any(str::is_empty) || text.contains(['*', ' ']),
                ),
            }
        }
    }
}
