//! The parser of env files, for `run --env-file` and `import`: one variable per line.
//!
//! ```text
//! # a comment
//! NAME=value                    # spaces around the value are trimmed, and so is a comment after a space
//! export NAME='as it is'        # single quotes: every character is literal
//! NAME="line one\nline two"     # double quotes: \n \r \t \" \\ and \$; both kinds may span lines
//! ```
//!
//! Variables are not substituted: `$OTHER` is literal. Values need not be UTF-8.

use std::ffi::OsString;
use std::fmt;
use std::ops::Range;
use std::os::unix::ffi::OsStringExt as _;

use zeroize::Zeroizing;

/// One variable of a file.
#[derive(PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its line, counted from one.
    pub(crate) line: usize,
    pub(crate) name: OsString,
    pub(crate) value: Zeroizing<Vec<u8>>,
    /// The bytes of the file that are its value, including quotes.
    pub(crate) span: Range<usize>,
    pub(crate) quote: Option<Quote>,
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

impl fmt::Debug for Entry {
    /// Prints the length of the value instead of the value, which may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("line", &self.line)
            .field("name", &self.name)
            .field("value_len", &self.value.len())
            .finish()
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
            Self::ZeroByte => "the value holds a zero byte, which an environment cannot hold",
        })
    }
}

/// Parses all variables, in the order of the file.
pub(crate) fn parse(text: &[u8]) -> Result<Vec<Entry>, ParseError> {
    let mut cursor = Cursor {
        rest: text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text),
        len: text.len(),
        line: 1,
    };
    let mut entries = Vec::new();
    while !cursor.rest.is_empty() {
        entries.extend(cursor.line_entry()?);
    }
    Ok(entries)
}

struct Cursor<'a> {
    rest: &'a [u8],
    /// Number of bytes in the file.
    len: usize,
    line: usize,
}

impl<'a> Cursor<'a> {
    /// Parses the variable on this line; `None` for an empty line or a comment.
    fn line_entry(&mut self) -> Result<Option<Entry>, ParseError> {
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
        let start = self.len - self.rest.len();
        let (value, raw_len) = match quote {
            Some(quote) => self.quoted(quote)?,
            None => self.bare(),
        };
        if value.contains(&0) {
            return Err(self.error(ParseErrorKind::ZeroByte));
        }
        Ok(Some(Entry {
            line,
            name,
            value,
            span: start..start + raw_len,
            quote,
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
        let start = name
            .first()
            .is_some_and(|c| c.is_ascii_alphabetic() || *c == b'_');
        if !start || !name.iter().all(|c| c.is_ascii_alphanumeric() || *c == b'_') {
            return Err(self.error(ParseErrorKind::InvalidName));
        }
        Ok(OsString::from_vec(name.to_vec()))
    }

    /// Parses a value without quotes: to the end of the line, or to a `#` after a space. Returns its length in the file, too.
    fn bare(&mut self) -> (Zeroizing<Vec<u8>>, usize) {
        let line = self.end_line();
        let is_comment = |at: usize| line[at] == b'#' && (at == 0 || is_blank(line[at - 1]));
        let end = (0..line.len())
            .find(|at| is_comment(*at))
            .unwrap_or(line.len());
        let value = line[..end].trim_ascii_end();
        (Zeroizing::new(value.to_vec()), value.len())
    }

    /// Parses a value in quotes, which may span lines, and the rest of the line after it. Returns its length in the file, too.
    fn quoted(&mut self, quote: Quote) -> Result<(Zeroizing<Vec<u8>>, usize), ParseError> {
        let unclosed = self.error(ParseErrorKind::UnclosedQuote);
        // With the largest possible capacity the buffer is never reallocated, which would leave a copy of the value.
        let mut value = Zeroizing::new(Vec::with_capacity(self.rest.len()));
        let start = self.rest.len();
        self.rest = &self.rest[1..];
        loop {
            match self.next() {
                None => return Err(unclosed),
                Some(byte) if byte == quote.byte() => break,
                Some(b'\\') if quote == Quote::Double => match self.next().and_then(unescaped) {
                    Some(byte) => value.push(byte),
                    None => return Err(self.error(ParseErrorKind::InvalidEscape)),
                },
                Some(byte) => value.push(byte),
            }
        }
        let raw_len = start - self.rest.len();
        self.skip_blanks();
        if !matches!(self.rest.first(), None | Some(b'\n' | b'#')) {
            return Err(self.error(ParseErrorKind::TextAfterQuote));
        }
        self.end_line();
        Ok((value, raw_len))
    }

    fn next(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        self.line += usize::from(*byte == b'\n');
        Some(*byte)
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

/// Returns `true` for a space, a tab, or the carriage return of a CRLF line end.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r')
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expected: &[(usize, &str, &str)]) {
        let entries = parse(text.as_bytes()).unwrap();
        let found: Vec<_> = entries
            .iter()
            .map(|entry| {
                let value = str::from_utf8(&entry.value).unwrap();
                (entry.line, entry.name.to_str().unwrap(), value)
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn lines_are_variables_comments_or_empty() {
        check("", &[]);
        check("\n  \n# NAME=x\n", &[]);
        check("A=1\nB=2", &[(1, "A", "1"), (2, "B", "2")]);
        check("\u{feff}A=1", &[(1, "A", "1")]);
        check("  export A_1 = x y \t\r\n", &[(1, "A_1", "x y")]);
        check(
            "A=\nB= # none\nC=a#b # c",
            &[(1, "A", ""), (2, "B", ""), (3, "C", "a#b")],
        );
        check("A=b=c==\nA=$HOME", &[(1, "A", "b=c=="), (2, "A", "$HOME")]);
        check("A=se://db/password", &[(1, "A", "se://db/password")]);
    }

    #[test]
    fn quotes_preserve_spaces_hashes_and_line_breaks() {
        check("A=' x # y '  # z\n", &[(1, "A", " x # y ")]);
        check(r"A='\n'", &[(1, "A", r"\n")]);
        check(r#"A="\n\r\t\"\\\$""#, &[(1, "A", "\n\r\t\"\\$")]);
        check("A='1\n2'\nB=3", &[(1, "A", "1\n2"), (3, "B", "3")]);
        check(r#"A=a"b"#, &[(1, "A", r#"a"b"#)]);
    }

    #[test]
    fn a_span_covers_the_value_with_its_quotes() {
        let text = "\u{feff}A= x y \t# c\r\nexport B='1\n2' # c\nC=\"\\n\"\nD=\nE=# c\nF=a#b";
        let entries = parse(text.as_bytes()).unwrap();
        let spans: Vec<_> = entries.iter().map(|e| &text[e.span.clone()]).collect();
        assert_eq!(spans, ["x y", "'1\n2'", "\"\\n\"", "", "", "a#b"]);
        let quotes: Vec<_> = entries.iter().map(|entry| entry.quote).collect();
        let (single, double) = (Some(Quote::Single), Some(Quote::Double));
        assert_eq!(quotes, [None, single, double, None, None, None]);
    }

    #[test]
    fn errors_have_the_line_without_its_text() {
        let error = |text: &str| {
            let error = parse(text.as_bytes()).unwrap_err();
            (error.line, error.kind)
        };
        assert_eq!(error("A=1\nhunter2"), (2, ParseErrorKind::NotAnAssignment));
        assert_eq!(error("=x"), (1, ParseErrorKind::InvalidName));
        assert_eq!(error("1A=x"), (1, ParseErrorKind::InvalidName));
        assert_eq!(error("A B=x"), (1, ParseErrorKind::InvalidName));
        assert_eq!(error("A=1\nB='\n\n"), (2, ParseErrorKind::UnclosedQuote));
        assert_eq!(error("A='x'y"), (1, ParseErrorKind::TextAfterQuote));
        assert_eq!(error(r#"A="\x""#), (1, ParseErrorKind::InvalidEscape));
        assert_eq!(error("A=\0"), (2, ParseErrorKind::ZeroByte));
    }

    #[test]
    fn debug_shows_no_value() {
        let entries = parse(b"A=not-a-real-token\n").unwrap();
        let text = format!("{entries:?}");
        assert!(
            text.contains("value_len: 16") && !text.contains("real"),
            "{text}"
        );
    }

    #[test]
    fn values_are_bytes() {
        let entries = parse(b"A=\xff\xfe\n").unwrap();
        assert_eq!(*entries[0].value, b"\xff\xfe");
    }

    proptest! {
        #[test]
        fn parse_accepts_any_bytes_without_a_panic(text in proptest::collection::vec(any::<u8>(), 0..64)) {
            let n_lines = text.iter().filter(|byte| **byte == b'\n').count() + 1;
            match parse(&text) {
                Ok(entries) => prop_assert!(entries.iter().all(|entry| entry.line <= n_lines)),
                Err(error) => prop_assert!(error.line <= n_lines + 1),
            }
        }

        #[test]
        fn single_quotes_preserve_every_character(value in "[^'\0]{0,40}") {
            let text = format!("A=1\nNAME='{value}'\nB=2\n");
            let entries = parse(text.as_bytes()).unwrap();
            prop_assert_eq!(entries.len(), 3);
            prop_assert_eq!(&*entries[1].value, value.as_bytes());
        }
    }
}
