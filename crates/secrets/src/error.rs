//! Parse errors of ids and patterns.

use crate::limits::{MAX_COMPONENTS, MAX_LEN, TooLong};

/// Error of parsing an [`Id`](crate::Id).
///
/// Components are counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseIdError {
    /// The text is empty.
    #[error("an id needs at least one component")]
    Empty,
    /// The text has two `/` in a row, or a `/` at the start or the end.
    #[error("component {component} is empty: an id has no leading, trailing or double '/'")]
    EmptyComponent {
        /// Index of the component, counted from 1.
        component: usize,
    },
    /// The text exceeds the limits of an id.
    #[error(
        "{len} bytes and {components} components are too long: an id has at most {MAX_LEN} bytes and {MAX_COMPONENTS} components"
    )]
    TooLong {
        /// Its length in bytes.
        len: usize,
        /// The number of its components.
        components: usize,
    },
    /// A component contains a character that is not allowed.
    #[error("component {component} contains {character:?}: only A-Z a-z 0-9 . _ : - may be used")]
    InvalidCharacter {
        /// Index of the component, counted from 1.
        component: usize,
        /// The character.
        character: char,
    },
}

/// Error of parsing a [`Pattern`](crate::Pattern).
///
/// Components are counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParsePatternError {
    /// The text is empty.
    #[error("a pattern needs at least one component; \"**\" matches every id")]
    Empty,
    /// The text has two `/` in a row, or a `/` at the start or the end.
    #[error("component {component} is empty: a pattern has no leading, trailing or double '/'")]
    EmptyComponent {
        /// Index of the component, counted from 1.
        component: usize,
    },
    /// The text exceeds the limits of a pattern.
    #[error(
        "{len} bytes and {components} components are too long: a pattern has at most {MAX_LEN} bytes and {MAX_COMPONENTS} components"
    )]
    TooLong {
        /// Its length in bytes.
        len: usize,
        /// The number of its components.
        components: usize,
    },
    /// A component contains a character that is not allowed.
    #[error(
        "component {component} contains {character:?}: only A-Z a-z 0-9 . _ : - and the components * and ** may be used"
    )]
    InvalidCharacter {
        /// Index of the component, counted from 1.
        component: usize,
        /// The character.
        character: char,
    },
    /// A component contains `*` beside other characters, or more than two `*`.
    #[error(
        "component {component} mixes '*' with other characters: a wildcard is a whole component, * or **"
    )]
    MixedWildcard {
        /// Index of the component, counted from 1.
        component: usize,
    },
}

impl From<TooLong> for ParseIdError {
    fn from(TooLong { len, components }: TooLong) -> Self {
        Self::TooLong { len, components }
    }
}

impl From<TooLong> for ParsePatternError {
    fn from(TooLong { len, components }: TooLong) -> Self {
        Self::TooLong { len, components }
    }
}

/// The first error in a component, shared by ids and patterns.
pub(crate) enum ComponentError {
    Empty,
    InvalidCharacter(char),
}

/// Validates one literal component.
pub(crate) fn validate_component(component: &str) -> Result<(), ComponentError> {
    if component.is_empty() {
        return Err(ComponentError::Empty);
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-');
    match component.chars().find(|&c| !allowed(c)) {
        Some(character) => Err(ComponentError::InvalidCharacter(character)),
        None => Ok(()),
    }
}
