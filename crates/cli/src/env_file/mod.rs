//! The parser of env files, for `run --env-file` and `import`: one variable per line.
//!
//! ```text
//! # a comment
//! NAME=value                    # spaces around the value are trimmed, and so is a comment after a space
//! export NAME='as it is'        # single quotes: every character is literal
//! NAME="line one\nline two"     # double quotes: \n \r \t \" \\ and \$; both kinds may span lines
//! URL=http://${HOST}:${PORT:-80}
//! ```
//!
//! Outside of single quotes `${NAME}` stands for a variable of a line above or of the environment. `${NAME:-text}` has a default
//! for a variable that is not set or empty, `${NAME-text}` for one that is not set. `\${` is literal. Commands (`$(...)` and backticks)
//! and other expansions are literal and noted. Values need not be UTF-8. `docs/book/src/reference/env-files.md` compares this with other programs.

mod parser;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fmt;
use std::ops::Range;

use zeroize::Zeroizing;

pub(crate) use parser::{is_name, parse};

/// One variable of a file.
#[derive(PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its line, counted from one.
    pub(crate) line: usize,
    pub(crate) name: OsString,
    pub(crate) value: Vec<Piece>,
    /// The bytes of the file that are its value, including quotes.
    pub(crate) span: Range<usize>,
    pub(crate) quote: Option<Quote>,
    /// Parts of the value that other programs would interpret.
    pub(crate) oddities: Vec<Oddity>,
}

/// The quotes around a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quote {
    Single,
    Double,
}

impl Quote {
    /// Returns the character at both ends of the value.
    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Single => b'\'',
            Self::Double => b'"',
        }
    }
}

/// A part of a value.
#[derive(PartialEq, Eq)]
pub(crate) enum Piece {
    /// Text as it is.
    Text(Zeroizing<Vec<u8>>),
    /// The value of another variable.
    Variable {
        name: String,
        default: Option<Default>,
    },
}

/// What takes the place of a variable.
#[derive(PartialEq, Eq)]
pub(crate) struct Default {
    pub(crate) value: Vec<Piece>,
    /// Whether it also takes the place of an empty value.
    pub(crate) replaces_empty: bool,
}

/// A part of a value that other programs interpret, and that is passed as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Oddity {
    /// `$(`.
    Command,
    /// A backtick.
    Backtick,
    /// `${` before anything but a name and a default.
    Expansion,
    /// `$NAME`.
    Dollar(String),
    /// `; export NAME=` in a value without quotes.
    SecondAssignment,
}

impl fmt::Debug for Entry {
    /// Prints the length of the value instead of the value, which may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("line", &self.line)
            .field("name", &self.name)
            .field("value", &self.value)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Variable { .. } => f.write_str("Variable"),
        }
    }
}

/// Error of a file. It does not hold any text of the file, which may be a secret.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ParseError {
    /// The line, counted from one.
    pub(crate) line: usize,
    pub(crate) kind: ParseErrorKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ParseErrorKind {
    /// A line is not an assignment.
    NotAnAssignment,
    /// The text before `=` is not a valid name.
    InvalidName,
    /// A quote is not closed.
    UnclosedQuote,
    /// Text follows a closing quote.
    TextAfterQuote,
    /// A backslash in double quotes precedes a character that cannot be escaped.
    InvalidEscape,
    /// The value holds a zero byte, which an environment cannot hold.
    ZeroByte,
    /// A default is not closed.
    UnclosedExpansion,
    /// Too many defaults within each other.
    TooDeep,
}

impl ParseErrorKind {
    /// Returns what to do about it, after "Nothing was started; ".
    pub(crate) fn advice(self) -> &'static str {
        match self {
            Self::ZeroByte => "write the file as text, in UTF-8 rather than UTF-16",
            Self::UnclosedExpansion | Self::TooDeep => {
                "write ${NAME:-text}, or the value in single quotes if it is literal"
            }
            _ => {
                "write NAME=value, with quotes around a value that holds spaces at its ends or several lines"
            }
        }
    }
}

impl fmt::Display for ParseErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAnAssignment => "the line is not of the form NAME=value",
            Self::InvalidName => {
                "the name may hold letters, digits and underscores, and does not start with a digit"
            }
            Self::UnclosedQuote => "the quote is not closed",
            Self::TextAfterQuote => "there is text after the closing quote",
            Self::InvalidEscape => {
                "in double quotes only \\n \\r \\t \\\" \\\\ and \\$ are escapes"
            }
            Self::ZeroByte => "there is a zero byte, which an environment cannot hold",
            Self::UnclosedExpansion => "the default in ${NAME:-text} is not closed",
            Self::TooDeep => "there are too many defaults within each other",
        })
    }
}
