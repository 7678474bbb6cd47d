//! The formats that secrets are moved out of: how the values of a file are found, and what takes the place of one.
//!
//! Parsers and replacements do no I/O. All of a file except the replaced bytes stays as it is.

mod aws;
mod env;
mod git_credentials;
mod ini;
mod lines;
mod netrc;
mod npmrc;
mod pypirc;
mod shell;

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::path::Path;

use clap::ValueEnum;
use keyway_secrets::{Id, SecretValue};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::env_file::Quote;

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Format {
    /// `.env`: what `keyway run --env-file` reads.
    Env,
    /// Shell scripts and `.envrc`: assignments of variables.
    Shell,
    /// `.netrc`: machines with a login and a password.
    Netrc,
    /// `.npmrc`: the settings of npm.
    Npmrc,
    /// `.pypirc`: the package indexes of twine.
    Pypirc,
    /// `.git-credentials`: the URLs of git's credential store.
    GitCredentials,
    /// `~/.aws/credentials`: the access keys of AWS.
    Aws,
}

/// The values of a file.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    /// In the order of the file.
    pub(super) fields: Vec<Field>,
    pub(super) notes: Vec<Note>,
}

/// One value of a file.
#[derive(Debug)]
pub(super) struct Field {
    /// Its line, counted from one.
    pub(super) line: usize,
    /// Its name for the user; never holds text that looks like a secret.
    pub(super) name: String,
    /// The name by which the value is classified.
    pub(super) key: String,
    /// The end of the proposed id, as the file writes it.
    pub(super) path: Vec<String>,
    /// The id that a comment of `keyway export` names.
    pub(super) id: Option<Id>,
    pub(super) value: SecretValue,
    pub(super) role: Role,
    /// The bytes that the replacement takes the place of; all ranges but the first are removed.
    pub(super) spans: Vec<Range<usize>>,
    pub(super) replacement: Replacement,
}

/// What the format says about a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Always a secret, which is described by these words.
    Secret(&'static str),
    /// Decided by name and value.
    Unknown,
    /// Refers to other variables or to another file, so the value is not in this file.
    Expanded,
}

/// What takes the place of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Replacement {
    /// The reference `se://ID`, in the quotes of the value.
    Reference(Option<Quote>),
    /// A command substitution of the shell.
    Substitution,
    /// A reference to an environment variable, `${NAME}`.
    Variable(String),
    /// A line of AWS's configuration that names a command.
    CredentialProcess,
    /// Nothing: the program gets the value in another way.
    Nothing,
}

impl Replacement {
    /// Returns the text that takes the place of the value with this id.
    pub(super) fn text(&self, id: &Id) -> String {
        match self {
            Self::Reference(None) => format!("se://{id}"),
            Self::Reference(Some(quote)) => {
                let quote = char::from(quote.byte());
                format!("{quote}se://{id}{quote}")
            }
            Self::Substitution => format!("\"$(keyway get {id})\""),
            Self::Variable(name) => format!("${{{name}}}"),
            Self::CredentialProcess => {
                format!("credential_process = keyway get --value {id}")
            }
            Self::Nothing => String::new(),
        }
    }
}

/// What a user should know about a line that stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    /// Its line, counted from one.
    pub(super) line: usize,
    pub(super) text: &'static str,
}

/// Error of a file that cannot be read as its format. It holds no text of the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FormatError {
    /// The line, counted from one.
    pub(super) line: usize,
    pub(super) reason: String,
}

impl Format {
    /// Returns the format of a file with this path, `None` if the path says nothing about it.
    pub(super) fn of_path(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let directory = path.parent().and_then(Path::file_name);
        match name {
            ".netrc" | "_netrc" => Some(Self::Netrc),
            ".npmrc" => Some(Self::Npmrc),
            ".pypirc" => Some(Self::Pypirc),
            ".git-credentials" => Some(Self::GitCredentials),
            "credentials" if directory.is_some_and(|name| name == ".aws") => Some(Self::Aws),
            "credentials" if directory.is_some_and(|name| name == "git") => {
                Some(Self::GitCredentials)
            }
            ".envrc" | ".bashrc" | ".bash_profile" | ".bash_login" | ".bash_aliases"
            | ".profile" | ".zshrc" | ".zshenv" | ".zprofile" | ".zlogin" | ".kshrc" => {
                Some(Self::Shell)
            }
            ".env" => Some(Self::Env),
            name if name.starts_with(".env.") || name.ends_with(".env") => Some(Self::Env),
            name => ["sh", "bash", "zsh", "ksh"]
                .iter()
                .any(|end| {
                    name.strip_suffix(end)
                        .is_some_and(|stem| stem.ends_with('.'))
                })
                .then_some(Self::Shell),
        }
    }

    /// Finds the values of a file.
    ///
    /// # Errors
    ///
    /// Returns a [`FormatError`] if the file cannot be read as this format in full.
    pub(super) fn parse(self, text: &[u8]) -> Result<Parsed, FormatError> {
        match self {
            Self::Env => env::parse(text),
            Self::Shell => shell::parse(text),
            Self::Netrc => netrc::parse(text),
            Self::Npmrc => npmrc::parse(text),
            Self::Pypirc => pypirc::parse(text),
            Self::GitCredentials => git_credentials::parse(text),
            Self::Aws => aws::parse(text),
        }
    }
}

/// Returns the text of a file with the values of these fields replaced.
///
/// The spans of the fields must be those of this text and must not overlap.
pub(super) fn rewrite<'a>(
    text: &[u8],
    moved: impl IntoIterator<Item = (&'a Field, &'a Id)>,
) -> Zeroizing<Vec<u8>> {
    let mut edits = Vec::new();
    for (field, id) in moved {
        let replacement = field.replacement.text(id);
        let texts = std::iter::once(replacement).chain(std::iter::repeat(String::new()));
        edits.extend(field.spans.iter().cloned().zip(texts));
    }
    edits.sort_by_key(|(span, _)| span.start);
    let added: usize = edits.iter().map(|(_, text)| text.len()).sum();
    // With this capacity the buffer, which may hold other values, is never reallocated.
    let mut result = Zeroizing::new(Vec::with_capacity(text.len() + added));
    let mut copied = 0;
    for (span, replacement) in edits {
        result.extend_from_slice(&text[copied..span.start]);
        result.extend_from_slice(replacement.as_bytes());
        copied = span.end;
    }
    result.extend_from_slice(&text[copied..]);
    result
}
