//! What can be wrong with the text of an id or a pattern.

/// Why a text is not an [`Id`](crate::Id).
///
/// Components are counted from 1, as a person would.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseIdError {
    /// The text is empty.
    #[error("an id needs at least one component")]
    Empty,
    /// Two `/` in a row, or a `/` at the start or the end.
    #[error("component {component} is empty: an id has no leading, trailing or double '/'")]
    EmptyComponent {
        /// Which component, counted from 1.
        component: usize,
    },
    /// A character that no component may hold.
    #[error("component {component} contains {character:?}: only A-Z a-z 0-9 . _ : - may be used")]
    InvalidCharacter {
        /// Which component, counted from 1.
        component: usize,
        /// The character.
        character: char,
    },
}

/// Why a text is not a [`Pattern`](crate::Pattern).
///
/// Components are counted from 1, as a person would.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParsePatternError {
    /// The text is empty.
    #[error("a pattern needs at least one component; \"**\" matches every id")]
    Empty,
    /// Two `/` in a row, or a `/` at the start or the end.
    #[error("component {component} is empty: a pattern has no leading, trailing or double '/'")]
    EmptyComponent {
        /// Which component, counted from 1.
        component: usize,
    },
    /// A character that no component may hold.
    #[error(
        "component {component} contains {character:?}: only A-Z a-z 0-9 . _ : - and the components * and ** may be used"
    )]
    InvalidCharacter {
        /// Which component, counted from 1.
        component: usize,
        /// The character.
        character: char,
    },
    /// `*` beside other characters, or more than two of it.
    #[error(
        "component {component} mixes '*' with other characters: a wildcard is a whole component, * or **"
    )]
    MixedWildcard {
        /// Which component, counted from 1.
        component: usize,
    },
}

/// The first thing wrong with a component, shared by ids and patterns.
pub(crate) enum ComponentFault {
    Empty,
    Character(char),
}

/// Checks the characters of one literal component.
pub(crate) fn check_component(component: &str) -> Result<(), ComponentFault> {
    if component.is_empty() {
        return Err(ComponentFault::Empty);
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-');
    match component.chars().find(|&c| !allowed(c)) {
        Some(character) => Err(ComponentFault::Character(character)),
        None => Ok(()),
    }
}
