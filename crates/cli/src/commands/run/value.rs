//! The value of a variable: literal text and references, and what is noted about it.

use std::fmt;

use zeroize::Zeroizing;

use crate::env_file::{Oddity, Piece};
use crate::input;
use crate::reference::lookalike::{self, Lookalike};
use crate::reference::{self, Found, InvalidReference, Reference, Target};

/// A part of a value.
#[derive(Clone)]
pub(super) enum Part {
    /// Literal bytes.
    Literal(Zeroizing<Vec<u8>>),
    /// The value of a secret.
    Reference(Reference),
}

impl fmt::Debug for Part {
    /// Prints the length of literal bytes instead of the bytes, which may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(bytes) => write!(f, "Literal({} bytes)", bytes.len()),
            Self::Reference(reference) => reference.fmt(f),
        }
    }
}

/// Something about a value that the user may not expect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Remark {
    /// Quotation marks or white space around a reference were removed.
    Unquoted,
    /// A part looks like a reference.
    Lookalike(Lookalike),
    /// A part is interpreted by other programs.
    Odd(Oddity),
    /// A variable of this name is not set.
    Unset(String),
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unquoted => f.write_str(
                "the quotation marks or spaces around the reference were removed; {{se://ID}} keeps them",
            ),
            Self::Lookalike(lookalike) => lookalike.fmt(f),
            Self::Odd(Oddity::Command) => {
                f.write_str("`$(` is passed as it is, because no command of an env file is run")
            }
            Self::Odd(Oddity::Backtick) => {
                f.write_str("a backtick is passed as it is, because no command of an env file is run")
            }
            Self::Odd(Oddity::Expansion) => f.write_str(
                "`${` is passed as it is, because only ${NAME}, ${NAME:-text} and ${NAME-text} are expanded",
            ),
            Self::Odd(Oddity::Dollar(name)) => {
                write!(f, "`${name}` is passed as it is; write ${{{name}}} for the variable")
            }
            Self::Odd(Oddity::SecondAssignment) => {
                f.write_str("`; export` is a part of the value, because a line sets one variable")
            }
            Self::Unset(name) => write!(
                f,
                "{name} is not set, so ${{{name}}} became empty; ${{{name}:-}} is empty without this note"
            ),
        }
    }
}

/// A run of text in which references are looked for, or a reference of another variable.
pub(super) enum Run {
    Text(Zeroizing<Vec<u8>>),
    Reference(Reference),
}

/// Finds the references in a value. Those of other variables stay apart from the text around them.
///
/// # Errors
///
/// Returns the first [`InvalidReference`].
pub(super) fn parse(runs: Vec<Run>) -> Result<(Vec<Part>, Vec<Remark>), InvalidReference> {
    if let [Run::Text(text)] = &runs[..]
        && let Some(inner) = reference::quoted(text)
    {
        let mut parts = Vec::new();
        push_text(inner.as_bytes(), &mut parts)?;
        return Ok((parts, vec![Remark::Unquoted]));
    }
    let mut parts = Vec::new();
    let mut remarks = Vec::new();
    for run in runs {
        match run {
            Run::Reference(reference) => parts.push(Part::Reference(reference)),
            Run::Text(text) => {
                let found = lookalike::find(&text);
                remarks.extend(found.map(Remark::Lookalike));
                push_text(&text, &mut parts)?;
            }
        }
    }
    Ok((parts, remarks))
}

/// Appends the parts of a text.
fn push_text(text: &[u8], parts: &mut Vec<Part>) -> Result<(), InvalidReference> {
    let mut end = 0;
    let push_literal = |parts: &mut Vec<Part>, bytes: &[u8]| {
        if !bytes.is_empty() {
            parts.push(Part::Literal(Zeroizing::new(bytes.to_vec())));
        }
    };
    for Found { range, target } in reference::scan(text) {
        push_literal(parts, &text[end..range.start]);
        end = range.end;
        match target? {
            Target::Secret(reference) => parts.push(Part::Reference(reference)),
            Target::Scheme => push_literal(parts, crate::names::SCHEME.as_bytes()),
        }
    }
    push_literal(parts, &text[end..]);
    Ok(())
}

/// Expands the variables in a value.
pub(super) struct Expansion<F> {
    lookup: F,
    /// The largest length of the text in bytes.
    limit: usize,
    runs: Vec<Run>,
    len: usize,
    unset: Vec<String>,
}

/// Error of a value that is longer than the limit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl<'a, F: Fn(&str) -> Option<&'a [Part]>> Expansion<F> {
    /// Creates an expansion. `lookup` returns the value of a variable that is set.
    pub(super) fn new(limit: usize, lookup: F) -> Self {
        Self {
            lookup,
            limit,
            runs: Vec::new(),
            len: 0,
            unset: Vec::new(),
        }
    }

    /// Expands a value. Returns the names of variables that are not set, too.
    ///
    /// # Errors
    ///
    /// Returns [`TooLong`] if the text exceeds the limit.
    pub(super) fn expand(mut self, value: &[Piece]) -> Result<(Vec<Run>, Vec<String>), TooLong> {
        self.push_all(value)?;
        Ok((self.runs, self.unset))
    }

    fn push_all(&mut self, value: &[Piece]) -> Result<(), TooLong> {
        for piece in value {
            match piece {
                Piece::Text(text) => self.push(text)?,
                Piece::Variable { name, default } => {
                    let value = (self.lookup)(name);
                    let default = default.as_ref().filter(|default| {
                        value.is_none_or(|value| default.replaces_empty && value.is_empty())
                    });
                    match (value, default) {
                        (_, Some(default)) => self.push_all(&default.value)?,
                        (Some(value), None) => self.push_parts(value)?,
                        (None, None) if self.unset.contains(name) => {}
                        (None, None) => self.unset.push(name.clone()),
                    }
                }
            }
        }
        Ok(())
    }

    fn push_parts(&mut self, parts: &[Part]) -> Result<(), TooLong> {
        for part in parts {
            match part {
                Part::Reference(reference) => self.runs.push(Run::Reference(reference.clone())),
                Part::Literal(bytes) => {
                    // What was text there is no reference here.
                    let mut escaped = Zeroizing::new(Vec::with_capacity(2 * bytes.len()));
                    reference::escape(bytes, &mut escaped);
                    self.push(&escaped)?;
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        self.len += bytes.len();
        if self.len > self.limit {
            return Err(TooLong);
        }
        match self.runs.last_mut() {
            Some(Run::Text(text)) => input::append(text, bytes),
            _ => self.runs.push(Run::Text(Zeroizing::new(bytes.to_vec()))),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env_file;

    fn parts(text: &str) -> Vec<Part> {
        parse(vec![Run::Text(Zeroizing::new(text.into()))])
            .unwrap()
            .0
    }

    /// Literal text, and references in angle brackets.
    fn shown(parts: &[Part]) -> String {
        let part = |part: &Part| match part {
            Part::Literal(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            Part::Reference(reference) => format!("<{}>", reference.pattern),
        };
        parts.iter().map(part).collect()
    }

    /// Expands the value of a line. These variables are set: TEXT, EMPTY, STAGE, HOST (a reference) and SCHEME.
    fn expand(value: &str) -> Result<(String, Vec<String>), TooLong> {
        let known = [
            ("TEXT", "a b"),
            ("EMPTY", ""),
            ("STAGE", "prod"),
            ("HOST", "se://db/host"),
            ("SCHEME", "{{se://}}x"),
            ("OTHER", "clickhouse://h"),
        ];
        let known = known.map(|(name, text)| (name, parts(text)));
        let entries = env_file::parse(format!("A={value}").as_bytes()).unwrap();
        let lookup = |name: &str| {
            let found = known.iter().find(|(known, _)| *known == name);
            found.map(|(_, parts)| parts.as_slice())
        };
        let (runs, unset) = Expansion::new(100, lookup).expand(&entries[0].value)?;
        Ok((shown(&parse(runs).unwrap().0), unset))
    }

    #[test]
    fn variables_are_expanded_before_references_are_looked_for() {
        for (value, expected) in [
            ("x${TEXT}y", "xa by"),
            ("se://shop/${STAGE}/pw", "<shop/prod/pw>"),
            (
                "http://${HOST}:5432/${HOST}",
                "http://<db/host>:5432/<db/host>",
            ),
            ("'${TEXT}'", "${TEXT}"),
            ("${EMPTY}|${EMPTY:-d}|${EMPTY-d}", "|d|"),
            ("${NONE:-d}|${NONE-d}|${TEXT:-d}", "d|d|a b"),
            ("${NONE:-${HOST}}", "<db/host>"),
            ("${SCHEME} ${OTHER}", "se://x clickhouse://h"),
        ] {
            assert_eq!(expand(value), Ok((expected.to_owned(), vec![])), "{value}");
        }
        let unset = vec!["NONE".to_owned()];
        assert_eq!(expand("x${NONE}y${NONE}"), Ok(("xy".to_owned(), unset)));
    }

    #[test]
    fn an_expansion_has_a_limit() {
        assert!(expand(&"${TEXT}".repeat(33)).is_ok());
        assert_eq!(expand(&"${TEXT}".repeat(34)), Err(TooLong));
    }

    #[test]
    fn remarks_name_what_was_removed_or_only_looks_like_a_reference() {
        let remarks = |text: &str| parse(vec![Run::Text(Zeroizing::new(text.into()))]).unwrap();
        for text in ["\"se://a\"", " se://a", "'se://a'\n"] {
            let (parts, remarks) = remarks(text);
            assert_eq!(
                (shown(&parts).as_str(), remarks),
                ("<a>", vec![Remark::Unquoted])
            );
        }
        let (parts, found) = remarks("\"{{se://a}}\"");
        assert_eq!((shown(&parts).as_str(), found), ("\"<a>\"", vec![]));
        assert_eq!(
            remarks("op://v/i").1,
            [Remark::Lookalike(Lookalike::Foreign("op://"))]
        );
        assert_eq!(
            remarks("\"SE://a\"").1,
            [Remark::Lookalike(Lookalike::Misspelt)]
        );
    }
}
