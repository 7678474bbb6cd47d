//! Parses the lines of an env file into pieces, without looking up any variable.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use zeroize::Zeroizing;

use super::{Default, Entry, Oddity, ParseError, ParseErrorKind, Piece, Quote};
use crate::input;

/// Maximum number of defaults within each other.
const MAX_DEPTH: usize = 16;

/// Parses all variables, in the order of the file.
///
/// # Errors
///
/// Returns the first [`ParseError`].
pub(crate) fn parse(text: &[u8]) -> Result<Vec<Entry>, ParseError> {
    let mut cursor = Cursor {
        rest: text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text),
        line: 1,
    };
    let mut entries = Vec::new();
    while !cursor.rest.is_empty() {
        entries.extend(cursor.entry(text.len())?);
    }
    Ok(entries)
}

struct Cursor<'a> {
    rest: &'a [u8],
    line: usize,
}

impl<'a> Cursor<'a> {
    /// Parses the variable on this line of a file with `len` bytes; `None` for an empty line or a comment.
    fn entry(&mut self, len: usize) -> Result<Option<Entry>, ParseError> {
        let line = self.line;
        self.skip_blanks();
        if matches!(self.rest.first(), None | Some(b'\n' | b'#')) {
            self.end_line();
            return Ok(None);
        }
        let name = self.name()?;
        self.skip_blanks();
        let quote = match self.rest.first() {
            Some(b'\'') => Some(Quote::Single),
            Some(b'"') => Some(Quote::Double),
            _ => None,
        };
        let start = len - self.rest.len();
        let mut value = Value::default();
        let raw_len = match quote {
            Some(quote) => self.quoted(quote, &mut value)?,
            None => self.bare(&mut value)?,
        };
        Ok(Some(Entry {
            line,
            name,
            value: value.pieces,
            span: start..start + raw_len,
            quote,
            oddities: value.oddities,
        }))
    }

    fn name(&mut self) -> Result<OsString, ParseError> {
        let line = self.rest.split(|byte| *byte == b'\n').next();
        let left = line.and_then(|line| line.splitn(2, |byte| *byte == b'=').next());
        let left = left.unwrap_or_default();
        if self.rest.get(left.len()) != Some(&b'=') {
            return Err(self.error(ParseErrorKind::NotAnAssignment));
        }
        self.rest = &self.rest[left.len() + 1..];
        let name = left.strip_prefix(b"export ").unwrap_or(left).trim_ascii();
        if !is_name(name) {
            return Err(self.error(ParseErrorKind::InvalidName));
        }
        Ok(OsString::from_vec(name.to_vec()))
    }

    /// Parses a value without quotes: to the end of the line, or to a `#` after a space. Returns its length in the file.
    fn bare(&mut self, value: &mut Value) -> Result<usize, ParseError> {
        let line = self.line;
        let text = self.end_line();
        let is_comment = |at: usize| text[at] == b'#' && (at == 0 || is_blank(text[at - 1]));
        let end = (0..text.len())
            .find(|at| is_comment(*at))
            .unwrap_or(text.len());
        let text = text[..end].trim_ascii_end();
        if has_second_assignment(text) {
            value.note(Oddity::SecondAssignment);
        }
        let mut inner = Cursor { rest: text, line };
        inner.text(value, Style::Bare, 0)?;
        Ok(text.len())
    }

    /// Parses a value in quotes, which may span lines, and the rest of the line after it. Returns its length in the file.
    fn quoted(&mut self, quote: Quote, value: &mut Value) -> Result<usize, ParseError> {
        let text = &self.rest[1..];
        let mut is_escaped = false;
        let len = text.iter().position(|byte| {
            let is_end = *byte == quote.byte() && !is_escaped;
            is_escaped = quote == Quote::Double && *byte == b'\\' && !is_escaped;
            is_end
        });
        let len = len.ok_or_else(|| self.error(ParseErrorKind::UnclosedQuote))?;
        let mut inner = Cursor {
            rest: &text[..len],
            line: self.line,
        };
        self.rest = &text[len + 1..];
        match quote {
            Quote::Double => inner.text(value, Style::Double, 0)?,
            Quote::Single => {
                while !inner.rest.is_empty() {
                    inner.copy(value)?;
                }
            }
        }
        self.line = inner.line;
        self.skip_blanks();
        if !matches!(self.rest.first(), None | Some(b'\n' | b'#')) {
            return Err(self.error(ParseErrorKind::TextAfterQuote));
        }
        self.end_line();
        Ok(len + 2)
    }

    /// Parses text with expansions: to its end, or to the closing brace of a default if `depth` is not 0, which is left.
    fn text(&mut self, value: &mut Value, style: Style, depth: usize) -> Result<(), ParseError> {
        while let Some(byte) = self.rest.first() {
            match byte {
                b'}' if depth > 0 => return Ok(()),
                b'\\' if style == Style::Double => {
                    self.next()?;
                    let escaped = self.next()?.and_then(unescaped);
                    let byte = escaped.ok_or_else(|| self.error(ParseErrorKind::InvalidEscape))?;
                    value.push(byte);
                }
                b'\\' if self.rest.starts_with(b"\\${") => {
                    self.rest = &self.rest[1..];
                    self.copy(value)?;
                }
                b'$' => self.dollar(value, style, depth)?,
                b'`' => {
                    value.note(Oddity::Backtick);
                    self.copy(value)?;
                }
                _ => self.copy(value)?,
            }
        }
        Ok(())
    }

    fn copy(&mut self, value: &mut Value) -> Result<(), ParseError> {
        if let Some(byte) = self.next()? {
            value.push(byte);
        }
        Ok(())
    }

    /// Parses what begins with `$`.
    fn dollar(&mut self, value: &mut Value, style: Style, depth: usize) -> Result<(), ParseError> {
        let after = &self.rest[1..];
        let oddity = match after.first() {
            Some(b'(') => Some(Oddity::Command),
            Some(b'{') => match self.expansion(style, depth)? {
                Some((piece, oddities)) => {
                    value.pieces.push(piece);
                    oddities.into_iter().for_each(|oddity| value.note(oddity));
                    return Ok(());
                }
                None => Some(Oddity::Expansion),
            },
            _ => {
                let name = &after[..name_len(after)];
                (!name.is_empty()).then(|| Oddity::Dollar(String::from_utf8_lossy(name).into()))
            }
        };
        oddity.into_iter().for_each(|oddity| value.note(oddity));
        self.copy(value)
    }

    /// Parses `${NAME}`, `${NAME:-text}` or `${NAME-text}`; `None` if it is neither of them.
    fn expansion(
        &mut self,
        style: Style,
        depth: usize,
    ) -> Result<Option<(Piece, Vec<Oddity>)>, ParseError> {
        let unclosed = self.error(ParseErrorKind::UnclosedExpansion);
        let after = &self.rest[2..];
        let (name, rest) = after.split_at(name_len(after));
        // The delimited form of a reference begins with a brace, too: `${{se://ID}}`.
        if name.is_empty() {
            return Ok(None);
        }
        let (rest, replaces_empty) = match rest {
            [b'}', ..] => (rest, None),
            [b':', b'-', rest @ ..] => (rest, Some(true)),
            [b'-', rest @ ..] => (rest, Some(false)),
            _ => return Ok(None),
        };
        let name = String::from_utf8_lossy(name).into_owned();
        self.rest = rest;
        let mut oddities = Vec::new();
        let mut default = None;
        if let Some(replaces_empty) = replaces_empty {
            if depth == MAX_DEPTH {
                return Err(self.error(ParseErrorKind::TooDeep));
            }
            let mut value = Value::default();
            self.text(&mut value, style, depth + 1)?;
            oddities = value.oddities;
            default = Some(Default {
                value: value.pieces,
                replaces_empty,
            });
        }
        match self.next()? {
            Some(b'}') => Ok(Some((Piece::Variable { name, default }, oddities))),
            _ => Err(unclosed),
        }
    }

    /// Takes the next byte, which must not be zero.
    fn next(&mut self) -> Result<Option<u8>, ParseError> {
        let Some((byte, rest)) = self.rest.split_first() else {
            return Ok(None);
        };
        if *byte == 0 {
            return Err(self.error(ParseErrorKind::ZeroByte));
        }
        self.rest = rest;
        self.line += usize::from(*byte == b'\n');
        Ok(Some(*byte))
    }

    fn skip_blanks(&mut self) {
        while self.rest.first().is_some_and(|byte| is_blank(*byte)) {
            self.rest = &self.rest[1..];
        }
    }

    /// Skips to the next line and returns the rest of this one.
    fn end_line(&mut self) -> &'a [u8] {
        let end = self.rest.iter().position(|byte| *byte == b'\n');
        let (line, rest) = match end {
            Some(end) => (&self.rest[..end], &self.rest[end + 1..]),
            None => (self.rest, &b""[..]),
        };
        self.rest = rest;
        self.line += 1;
        line
    }

    fn error(&self, kind: ParseErrorKind) -> ParseError {
        ParseError {
            line: self.line,
            kind,
        }
    }
}

/// How a value is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Bare,
    Double,
}

/// A value that is being parsed.
#[derive(Default)]
struct Value {
    pieces: Vec<Piece>,
    oddities: Vec<Oddity>,
}

impl Value {
    fn push(&mut self, byte: u8) {
        match self.pieces.last_mut() {
            Some(Piece::Text(text)) => input::append(text, &[byte]),
            _ => self.pieces.push(Piece::Text(Zeroizing::new(vec![byte]))),
        }
    }

    fn note(&mut self, oddity: Oddity) {
        if !self.oddities.contains(&oddity) {
            self.oddities.push(oddity);
        }
    }
}

/// Returns `true` for a space, a tab, or the carriage return of a CRLF line end.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r')
}

/// Returns `true` for the name of a variable: letters, digits and underscores, of which the first is not a digit.
pub(crate) fn is_name(text: &[u8]) -> bool {
    !text.is_empty() && name_len(text) == text.len()
}

/// Returns the length of the name of a variable at the start.
fn name_len(text: &[u8]) -> usize {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    match text.first() {
        Some(byte) if byte.is_ascii_digit() => 0,
        _ => text.iter().take_while(|byte| is_part(byte)).count(),
    }
}

/// Returns `true` for `value; export NAME=value`.
fn has_second_assignment(text: &[u8]) -> bool {
    const SECOND: &[u8] = b"; export ";
    let mut windows = text.windows(SECOND.len()).enumerate();
    windows.any(|(at, window)| {
        let is_assignment = || {
            let name = &text[at + SECOND.len()..];
            let len = name_len(name);
            len > 0 && name.get(len) == Some(&b'=')
        };
        window == SECOND && is_assignment()
    })
}

fn unescaped(byte: u8) -> Option<u8> {
    match byte {
        b'n' => Some(b'\n'),
        b'r' => Some(b'\r'),
        b't' => Some(b'\t'),
        b'"' | b'\\' | b'$' => Some(byte),
        _ => None,
    }
}
