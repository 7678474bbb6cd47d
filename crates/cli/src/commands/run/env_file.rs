//! The format of `--env-file`: one variable a line.
//!
//! ```text
//! # a comment
//! NAME=value                    # spaces around the value do not belong to it, nor does a comment behind a space
//! export NAME='as it is'        # single quotes: every character stands for itself
//! NAME="line one\nline two"     # double quotes: \n \r \t \" \\ and \$; both kinds may span lines
//! ```
//!
//! Nothing is substituted: `$OTHER` stays as it is. Values need not be UTF-8.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt as _;

use zeroize::Zeroizing;

/// One variable of a file.
#[derive(PartialEq, Eq)]
pub(super) struct Entry {
    /// Its line, from one.
    pub(super) line: usize,
    pub(super) name: OsString,
    pub(super) value: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Entry {
    /// Shows the length of the value and not the value, which may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("line", &self.line)
            .field("name", &self.name)
            .field("value_len", &self.value.len())
            .finish()
    }
}

/// What is wrong with a file, without its text: that may be a secret.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The line, from one.
    pub(super) line: usize,
    pub(super) kind: FaultKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// A line that is no assignment.
    NoAssignment,
    /// What is left of `=` is no name.
    BadName,
    /// A quote is not closed.
    OpenQuote,
    /// There is something behind a closing quote.
    BehindQuote,
    /// A backslash in double quotes before a character that has no meaning there.
    BadEscape,
    /// A zero byte, which no environment can hold.
    ZeroByte,
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoAssignment => "the line is not of the form NAME=value",
            Self::BadName => {
                "the name may hold letters, digits and underscores, and does not start with a digit"
            }
            Self::OpenQuote => "the quote is not closed",
            Self::BehindQuote => "there is text behind the closing quote",
            Self::BadEscape => "in double quotes only \\n \\r \\t \\\" \\\\ and \\$ are escapes",
            Self::ZeroByte => "the value holds a zero byte, which no environment can",
        })
    }
}

/// Reads all variables, in the order of the file.
pub(super) fn parse(text: &[u8]) -> Result<Vec<Entry>, Fault> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut cursor = Cursor {
        rest: text,
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
    line: usize,
}

impl<'a> Cursor<'a> {
    /// Reads what starts on this line: a variable, or nothing.
    fn line_entry(&mut self) -> Result<Option<Entry>, Fault> {
        let line = self.line;
        self.skip_blanks();
        if matches!(self.rest.first(), None | Some(b'\n' | b'#')) {
            self.end_line();
            return Ok(None);
        }
        let name = self.name()?;
        self.skip_blanks();
        let value = match self.rest.first() {
            Some(b'\'') => self.quoted(b'\'')?,
            Some(b'"') => self.quoted(b'"')?,
            _ => self.bare(),
        };
        if value.contains(&0) {
            return Err(self.fault(FaultKind::ZeroByte));
        }
        Ok(Some(Entry { line, name, value }))
    }

    fn name(&mut self) -> Result<OsString, Fault> {
        let line = self.rest.split(|byte| *byte == b'\n').next();
        let left = line.and_then(|line| line.splitn(2, |byte| *byte == b'=').next());
        let left = left.unwrap_or_default();
        if self.rest.get(left.len()) != Some(&b'=') {
            return Err(self.fault(FaultKind::NoAssignment));
        }
        self.rest = &self.rest[left.len() + 1..];
        let name = left.strip_prefix(b"export ").unwrap_or(left).trim_ascii();
        let start = name
            .first()
            .is_some_and(|c| c.is_ascii_alphabetic() || *c == b'_');
        if !start || !name.iter().all(|c| c.is_ascii_alphanumeric() || *c == b'_') {
            return Err(self.fault(FaultKind::BadName));
        }
        Ok(OsString::from_vec(name.to_vec()))
    }

    /// A value without quotes: to the end of the line, or to a `#` behind a space.
    fn bare(&mut self) -> Zeroizing<Vec<u8>> {
        let line = self.end_line();
        let is_comment = |at: usize| line[at] == b'#' && (at == 0 || is_blank(line[at - 1]));
        let end = (0..line.len())
            .find(|at| is_comment(*at))
            .unwrap_or(line.len());
        Zeroizing::new(line[..end].trim_ascii_end().to_vec())
    }

    /// A value in quotes, which may span lines, and the rest of the line behind it.
    fn quoted(&mut self, quote: u8) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let open = self.fault(FaultKind::OpenQuote);
        // As much room as there can be need for, so that no piece of the value stays behind in a smaller buffer.
        let mut value = Zeroizing::new(Vec::with_capacity(self.rest.len()));
        self.rest = &self.rest[1..];
        loop {
            match self.next() {
                None => return Err(open),
                Some(byte) if byte == quote => break,
                Some(b'\\') if quote == b'"' => match self.next().and_then(unescaped) {
                    Some(byte) => value.push(byte),
                    None => return Err(self.fault(FaultKind::BadEscape)),
                },
                Some(byte) => value.push(byte),
            }
        }
        self.skip_blanks();
        if !matches!(self.rest.first(), None | Some(b'\n' | b'#')) {
            return Err(self.fault(FaultKind::BehindQuote));
        }
        self.end_line();
        Ok(value)
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

    /// Leaves the line and gives what was left of it.
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

    fn fault(&self, kind: FaultKind) -> Fault {
        Fault {
            line: self.line,
            kind,
        }
    }
}

/// A space, a tab, or the carriage return of a file from another system.
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
    fn what_a_line_may_be() {
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
    fn quotes_keep_what_a_bare_value_loses() {
        check("A=' x # y '  # z\n", &[(1, "A", " x # y ")]);
        check(r"A='\n'", &[(1, "A", r"\n")]);
        check(r#"A="\n\r\t\"\\\$""#, &[(1, "A", "\n\r\t\"\\$")]);
        check("A='1\n2'\nB=3", &[(1, "A", "1\n2"), (3, "B", "3")]);
        check(r#"A=a"b"#, &[(1, "A", r#"a"b"#)]);
    }

    #[test]
    fn faults_name_the_line_and_not_its_text() {
        let fault = |text: &str| {
            let fault = parse(text.as_bytes()).unwrap_err();
            (fault.line, fault.kind)
        };
        assert_eq!(fault("A=1\nhunter2"), (2, FaultKind::NoAssignment));
        assert_eq!(fault("=x"), (1, FaultKind::BadName));
        assert_eq!(fault("1A=x"), (1, FaultKind::BadName));
        assert_eq!(fault("A B=x"), (1, FaultKind::BadName));
        assert_eq!(fault("A=1\nB='\n\n"), (2, FaultKind::OpenQuote));
        assert_eq!(fault("A='x'y"), (1, FaultKind::BehindQuote));
        assert_eq!(fault(r#"A="\x""#), (1, FaultKind::BadEscape));
        assert_eq!(fault("A=\0"), (2, FaultKind::ZeroByte));
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
        fn any_bytes_are_read_or_refused(text in proptest::collection::vec(any::<u8>(), 0..64)) {
            let n_lines = text.iter().filter(|byte| **byte == b'\n').count() + 1;
            match parse(&text) {
                Ok(entries) => prop_assert!(entries.iter().all(|entry| entry.line <= n_lines)),
                Err(fault) => prop_assert!(fault.line <= n_lines + 1),
            }
        }

        #[test]
        fn single_quotes_keep_everything(value in "[^'\0]{0,40}") {
            let text = format!("A=1\nNAME='{value}'\nB=2\n");
            let entries = parse(text.as_bytes()).unwrap();
            prop_assert_eq!(entries.len(), 3);
            prop_assert_eq!(&*entries[1].value, value.as_bytes());
        }
    }
}
