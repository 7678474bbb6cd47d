//! Shell scripts and `.envrc`: lines that assign one variable and do nothing else, with or without `export`.
//!
//! The scanner knows quotes, comments and here-documents, so that a line inside a longer string or document is not taken
//! for an assignment. It is not a shell: every other line stays as it is. A parser of the whole language would keep copies
//! of the values that are not zeroized.

use std::ops::Range;

use keyway_secrets::SecretValue;
use zeroize::Zeroizing;

use super::env::commented_ids;
use super::{Field, FormatError, Note, Parsed, Replacement, Role};
use crate::commands::import::classify;

/// Maximum number of substitutions within each other.
const MAX_DEPTH: usize = 64;

/// Finds the simple assignments of the script.
pub(super) fn parse(text: &[u8]) -> Result<Parsed, FormatError> {
    let mut scanner = Scanner {
        text,
        at: 0,
        line: 1,
    };
    let mut parsed = Parsed::default();
    let ids = commented_ids(text);
    while scanner.at < text.len() {
        let (start, line) = (scanner.at, scanner.line);
        let assignment = scanner
            .assignment()
            .filter(|found| !is_sensitive_to_lines(&found.value));
        if let Some(assignment) = assignment {
            let id = ids.iter().find(|(above, _)| above + 1 == line);
            parsed
                .fields
                .push(assignment.into_field(line, id.map(|(_, id)| id.clone())));
            continue;
        }
        (scanner.at, scanner.line) = (start, line);
        scanner.skip_statement_line()?;
        if may_hold_secret(&text[start..scanner.at]) {
            parsed.notes.push(Note {
                line,
                text: "this may hold a secret, but is not a simple assignment, and stays as it is",
            });
        }
    }
    Ok(parsed)
}

/// Returns `true` for a value that a command substitution would change: it removes line breaks at the end.
fn is_sensitive_to_lines(value: &[u8]) -> bool {
    value.ends_with(b"\n")
}

/// Returns `true` if a line that is not a simple assignment holds a known token, or a text after the name of a secret.
fn may_hold_secret(line: &[u8]) -> bool {
    if line.trim_ascii_start().starts_with(b"#") && classify::find_token(line).is_none() {
        return false;
    }
    let is_separator =
        |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b';' | b'&' | b'|' | b'(' | b')');
    let is_secret_assignment = |word: &[u8]| {
        let Some(equals) = word.iter().position(|byte| *byte == b'=') else {
            return false;
        };
        let value = &word[equals + 1..];
        let value = value
            .strip_prefix(b"\"")
            .or(value.strip_prefix(b"'"))
            .unwrap_or(value);
        let is_text = value
            .first()
            .is_some_and(|byte| !matches!(byte, b'$' | b'`' | b'"' | b'\''));
        is_text && str::from_utf8(&word[..equals]).is_ok_and(classify::is_secret_name)
    };
    classify::find_token(line).is_some() || line.split(is_separator).any(is_secret_assignment)
}

/// One assignment.
struct Assignment {
    name: String,
    value: Zeroizing<Vec<u8>>,
    span: Range<usize>,
    /// Whether the value refers to other variables or commands.
    is_expanded: bool,
}

impl Assignment {
    fn into_field(self, line: usize, id: Option<keyway_secrets::Id>) -> Field {
        Field {
            line,
            key: self.name.clone(),
            path: vec![self.name.clone()],
            name: self.name,
            id,
            value: SecretValue::from(self.value.as_slice()),
            role: match self.is_expanded {
                true => Role::Expanded,
                false => Role::Unknown,
            },
            spans: vec![self.span],
            replacement: Replacement::Substitution,
        }
    }
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    line: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        self.line += usize::from(byte == b'\n');
        Some(byte)
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    /// Returns the assignment that this line consists of, and moves behind the line. Otherwise the position is undefined.
    fn assignment(&mut self) -> Option<Assignment> {
        self.skip_blanks();
        let export: &[u8] = b"export";
        if self.text[self.at..].starts_with(export)
            && matches!(self.text.get(self.at + export.len()), Some(b' ' | b'\t'))
        {
            self.at += export.len();
            self.skip_blanks();
        }
        let rest = &self.text[self.at..];
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let len = rest.iter().position(|byte| !is_name(byte))?;
        if len == 0 || rest[0].is_ascii_digit() || rest[len] != b'=' {
            return None;
        }
        let name = String::from_utf8_lossy(&rest[..len]).into_owned();
        self.at += len + 1;
        let start = self.at;
        let (value, is_expanded) = self.word()?;
        let span = start..self.at;
        self.end_of_line()?;
        Some(Assignment {
            name,
            value,
            span,
            is_expanded,
        })
    }

    /// Moves behind the end of the line, if only blanks, `;` and a comment precede it.
    fn end_of_line(&mut self) -> Option<()> {
        let before = self.at;
        self.skip_blanks();
        if self.peek() == Some(b';') {
            self.at += 1;
            self.skip_blanks();
        }
        let is_comment = self.peek() == Some(b'#') && self.at > before;
        while is_comment && self.peek().is_some_and(|byte| byte != b'\n') {
            self.at += 1;
        }
        if self.peek() == Some(b'\r') {
            self.at += 1;
        }
        matches!(self.next(), None | Some(b'\n')).then_some(())
    }

    /// Returns the value of a word without quotes, and whether it has expansions.
    fn word(&mut self) -> Option<(Zeroizing<Vec<u8>>, bool)> {
        // With the largest possible capacity the buffer is never reallocated, which would leave a copy of the value.
        let mut value = Zeroizing::new(Vec::with_capacity(self.text.len() - self.at));
        let mut is_expanded = false;
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' | b';' => break,
                b'\'' => self.single_quoted(&mut value)?,
                b'"' => is_expanded |= self.double_quoted(&mut value)?,
                b'$' if matches!(self.text.get(self.at + 1), Some(b'(' | b'\'' | b'"')) => {
                    return None;
                }
                b'$' => {
                    is_expanded = true;
                    value.extend(self.next());
                }
                b'~' if value.is_empty() => return None,
                b'\\' => {
                    self.next();
                    value.push(self.next().filter(|byte| *byte != b'\n')?);
                }
                b'`' | b'&' | b'|' | b'<' | b'>' | b'(' | b')' | 0 => return None,
                _ => value.extend(self.next()),
            }
        }
        Some((value, is_expanded))
    }

    fn single_quoted(&mut self, value: &mut Vec<u8>) -> Option<()> {
        self.next();
        loop {
            match self.next()? {
                b'\'' => return Some(()),
                byte => value.push(byte),
            }
        }
    }

    /// Appends the text in double quotes, and returns whether it has expansions.
    fn double_quoted(&mut self, value: &mut Vec<u8>) -> Option<bool> {
        self.next();
        let mut is_expanded = false;
        loop {
            match self.next()? {
                b'"' => return Some(is_expanded),
                b'`' => return None,
                b'$' if self.peek() == Some(b'(') => return None,
                b'$' => {
                    let after = self.peek()?;
                    is_expanded |= after.is_ascii_alphanumeric() || b"_{@*#?$!-".contains(&after);
                    value.push(b'$');
                }
                b'\\' => match self.next()? {
                    b'\n' => {}
                    byte @ (b'"' | b'\\' | b'$' | b'`') => value.push(byte),
                    byte => value.extend([b'\\', byte]),
                },
                byte => value.push(byte),
            }
        }
    }

    /// Moves to the next line at which a statement may begin: behind quotes and here-documents that this line opens.
    fn skip_statement_line(&mut self) -> Result<(), FormatError> {
        let line = self.line;
        let mut documents = Vec::new();
        let mut previous = b' ';
        while let Some(byte) = self.next() {
            match byte {
                b'\n' => break,
                b'\\' => drop(self.next()),
                b'\'' => self.skip_to(b'\'', line)?,
                b'`' => self.skip_to(b'`', line)?,
                b'"' => self.skip_double_quoted(line, MAX_DEPTH)?,
                b'#' if previous.is_ascii_whitespace() || previous == b';' => self.skip_comment(),
                b'<' if self.peek() == Some(b'<') => documents.extend(self.document()),
                _ => {}
            }
            previous = byte;
        }
        documents
            .iter()
            .try_for_each(|document| self.skip_document(document, line))
    }

    fn skip_comment(&mut self) {
        while self.peek().is_some_and(|byte| byte != b'\n') {
            self.at += 1;
        }
    }

    /// Skips a quoted text. Only single quotes have no escapes.
    fn skip_to(&mut self, end: u8, line: usize) -> Result<(), FormatError> {
        loop {
            match self.next() {
                None => return Err(unclosed(line)),
                Some(b'\\') if end != b'\'' => drop(self.next()),
                Some(byte) if byte == end => return Ok(()),
                Some(_) => {}
            }
        }
    }

    /// Skips a text in double quotes, in which `$(...)` has quotes of its own.
    fn skip_double_quoted(&mut self, line: usize, depth: usize) -> Result<(), FormatError> {
        loop {
            match self.next() {
                None => return Err(unclosed(line)),
                Some(b'"') => return Ok(()),
                Some(b'\\') => drop(self.next()),
                Some(b'`') => self.skip_to(b'`', line)?,
                Some(b'$') if self.peek() == Some(b'(') => self.skip_substitution(line, depth)?,
                Some(_) => {}
            }
        }
    }

    fn skip_substitution(&mut self, line: usize, depth: usize) -> Result<(), FormatError> {
        let mut n_open = 0_usize;
        loop {
            match self.next() {
                None => return Err(unclosed(line)),
                Some(b'(') => n_open += 1,
                Some(b')') if n_open == 1 => return Ok(()),
                Some(b')') => n_open -= 1,
                Some(b'\\') => drop(self.next()),
                Some(b'\'') => self.skip_to(b'\'', line)?,
                Some(b'"') => {
                    let depth = depth.checked_sub(1).ok_or_else(|| unclosed(line))?;
                    self.skip_double_quoted(line, depth)?;
                }
                Some(_) => {}
            }
        }
    }

    /// Reads the delimiter of a here-document behind its first `<`.
    fn document(&mut self) -> Option<Document> {
        self.at += 1;
        if self.peek() == Some(b'<') {
            // A here-string, whose word is part of the line.
            self.at += 1;
            return None;
        }
        let strips_tabs = self.peek() == Some(b'-');
        self.at += usize::from(strips_tabs);
        self.skip_blanks();
        let mut delimiter = Vec::new();
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' | b';' | b'&' | b'|' | b'<' | b'>' | b'(' | b')' => {
                    break;
                }
                b'\\' => {
                    self.at += 1;
                    delimiter.extend(self.next());
                }
                quote @ (b'\'' | b'"') => {
                    let quoted = self.text[self.at + 1..]
                        .iter()
                        .take_while(|byte| **byte != quote);
                    delimiter.extend(quoted.filter(|byte| **byte != b'\n'));
                    self.at += 1;
                    while self.next().is_some_and(|byte| byte != quote) {}
                }
                byte => {
                    delimiter.push(byte);
                    self.at += 1;
                }
            }
        }
        (!delimiter.is_empty()).then_some(Document {
            delimiter,
            strips_tabs,
        })
    }

    fn skip_document(&mut self, document: &Document, line: usize) -> Result<(), FormatError> {
        loop {
            let start = self.at;
            if start >= self.text.len() {
                return Err(FormatError {
                    line,
                    reason: "the here-document that begins here has no end".to_owned(),
                });
            }
            self.skip_comment();
            let mut content = &self.text[start..self.at];
            self.next();
            while document.strips_tabs && content.first() == Some(&b'\t') {
                content = &content[1..];
            }
            let content = content.strip_suffix(b"\r").unwrap_or(content);
            if content == document.delimiter {
                return Ok(());
            }
        }
    }
}

/// A here-document.
struct Document {
    delimiter: Vec<u8>,
    strips_tabs: bool,
}

fn unclosed(line: usize) -> FormatError {
    FormatError {
        line,
        reason: "a quote or a substitution that begins here is not closed".to_owned(),
    }
}
