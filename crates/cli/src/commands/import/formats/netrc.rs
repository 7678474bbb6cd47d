//! `.netrc`: the machines that curl, git and others log in to.

use std::ops::Range;

use keyway_secrets::SecretValue;
use zeroize::Zeroizing;

use super::{Field, FormatError, Parsed, Replacement, Role};
use crate::commands::import::classify;
use crate::env_file::Quote;

/// Finds the passwords, and logins that may be tokens.
pub(super) fn parse(text: &[u8]) -> Result<Parsed, FormatError> {
    let mut tokens = Tokens {
        text,
        at: 0,
        line: 1,
    };
    let mut parsed = Parsed::default();
    let mut machine = Machine::default();
    while let Some(word) = tokens.next(true)? {
        let keyword = word.value.as_slice();
        match keyword {
            b"machine" => {
                machine.finish(&mut parsed.fields);
                machine.host = tokens.argument(&word)?.text();
            }
            b"default" => {
                machine.finish(&mut parsed.fields);
                machine.host = "default".to_owned();
            }
            b"login" | b"account" | b"password" => {
                let name = word.text();
                machine.words.push((name, tokens.argument(&word)?));
            }
            b"macdef" => tokens.skip_macro(),
            _ => {
                return Err(FormatError {
                    line: word.line,
                    reason: "machine, default, login, account, password or macdef is expected here"
                        .to_owned(),
                });
            }
        }
    }
    machine.finish(&mut parsed.fields);
    Ok(parsed)
}

/// The words of one machine.
#[derive(Default)]
struct Machine {
    host: String,
    words: Vec<(String, Word)>,
}

impl Machine {
    /// Moves the words to `fields`.
    fn finish(&mut self, fields: &mut Vec<Field>) {
        let host = std::mem::take(&mut self.host);
        let login = self.words.iter().find(|(name, _)| name == "login");
        let login = login.filter(|(_, word)| classify::token_kind(&word.value).is_none());
        let login = login.map(|(_, word)| word.text());
        for (name, word) in self.words.drain(..) {
            let is_password = name == "password";
            let mut path = vec!["netrc".to_owned(), host.clone()];
            path.extend(login.clone().filter(|_| is_password));
            path.extend((!is_password).then(|| name.clone()));
            fields.push(Field {
                line: word.line,
                name: format!("{name} of {host}"),
                key: name,
                path,
                id: None,
                value: SecretValue::from(word.value.as_slice()),
                role: match is_password {
                    true => Role::Secret("a password"),
                    false => Role::Unknown,
                },
                spans: vec![word.span],
                replacement: Replacement::Reference(word.quote),
            });
        }
    }
}

/// A word of the file.
struct Word {
    line: usize,
    value: Zeroizing<Vec<u8>>,
    span: Range<usize>,
    quote: Option<Quote>,
}

impl Word {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.value).into_owned()
    }
}

struct Tokens<'a> {
    text: &'a [u8],
    at: usize,
    line: usize,
}

impl Tokens<'_> {
    /// Returns the next word. Comments are skipped where a keyword is expected; elsewhere `#` may begin a password.
    fn next(&mut self, may_be_comment: bool) -> Result<Option<Word>, FormatError> {
        loop {
            match self.text.get(self.at) {
                None => return Ok(None),
                Some(b'\n') => self.line += 1,
                Some(byte) if byte.is_ascii_whitespace() => {}
                Some(b'#') if may_be_comment => self.skip_line(),
                Some(b'"') => return self.quoted().map(Some),
                Some(_) => return Ok(Some(self.bare())),
            }
            self.at += 1;
        }
    }

    /// Returns the word after `keyword`.
    fn argument(&mut self, keyword: &Word) -> Result<Word, FormatError> {
        self.next(false)?.ok_or_else(|| FormatError {
            line: keyword.line,
            reason: "a word is missing at the end of the file".to_owned(),
        })
    }

    fn bare(&mut self) -> Word {
        let rest = &self.text[self.at..];
        let len = rest
            .iter()
            .position(u8::is_ascii_whitespace)
            .unwrap_or(rest.len());
        let span = self.at..self.at + len;
        self.at = span.end;
        Word {
            line: self.line,
            value: Zeroizing::new(self.text[span.clone()].to_vec()),
            span,
            quote: None,
        }
    }

    /// Returns a word in double quotes, in which a backslash escapes, as curl reads it.
    fn quoted(&mut self) -> Result<Word, FormatError> {
        let (start, line) = (self.at, self.line);
        let mut value = Zeroizing::new(Vec::with_capacity(self.text.len() - start));
        let mut bytes = self.text[start + 1..].iter();
        loop {
            match bytes.next() {
                None | Some(b'\n') => {
                    let reason = "the quote is not closed".to_owned();
                    return Err(FormatError { line, reason });
                }
                Some(b'"') => break,
                Some(b'\\') => value.extend(bytes.next().map(|byte| match byte {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    other => *other,
                })),
                Some(byte) => value.push(*byte),
            }
        }
        self.at = self.text.len() - bytes.len();
        Ok(Word {
            line,
            value,
            span: start..self.at,
            quote: Some(Quote::Double),
        })
    }

    /// Moves to the line break at the end of this line.
    fn skip_line(&mut self) {
        let rest = &self.text[self.at..];
        let end = rest.iter().position(|byte| *byte == b'\n');
        self.at += end.unwrap_or(rest.len());
        // The caller moves past one byte.
        self.at = self.at.saturating_sub(1);
    }

    /// Skips a macro, which ends with an empty line.
    fn skip_macro(&mut self) {
        while self.at < self.text.len() {
            let rest = &self.text[self.at..];
            let line = rest.split_inclusive(|byte| *byte == b'\n').next();
            let line = line.unwrap_or_default();
            self.at += line.len();
            self.line += usize::from(line.ends_with(b"\n"));
            if line.trim_ascii().is_empty() {
                return;
            }
        }
    }
}
