//! The identity: the keys that decrypt the store, in their own file.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use age::secrecy::{ExposeSecret, SecretString};
use age::x25519;
use zeroize::Zeroizing;

use super::cipher::{self, CipherError};
use super::private;
use crate::config::Passphrase;
use crate::{StoreConfig, StoreError};

/// Largest identity, passphrase or recipient file in bytes.
pub(super) const MAX_KEY_FILE_LEN: u64 = 64 * 1024;
/// Name of the list of further recipients in the store's directory.
pub(super) const RECIPIENTS_FILE: &str = "recipients.txt";

/// Keys that decrypt the store. New files are encrypted to the first one.
pub(super) struct Identity {
    keys: Vec<x25519::Identity>,
}

impl Identity {
    /// Creates an identity with a new key, which is not yet in a file.
    pub(super) fn generate() -> Self {
        Self {
            keys: vec![x25519::Identity::generate()],
        }
    }

    /// Reads the configured identity file; `None` if it does not exist.
    pub(super) fn load(config: &StoreConfig) -> Result<Option<Self>, StoreError> {
        let text = read_text(config)?;
        text.map(|text| Self::parse(&config.identity_path(), &text))
            .transpose()
    }

    /// Returns this identity with the keys of `other` after its own.
    pub(super) fn followed_by(&self, other: &Self) -> Self {
        Self {
            keys: self.keys.iter().chain(&other.keys).cloned().collect(),
        }
    }

    /// Writes the configured identity file.
    pub(super) fn write(&self, config: &StoreConfig) -> Result<(), StoreError> {
        let mut text = Zeroizing::new(String::with_capacity(256 * self.keys.len()));
        for key in &self.keys {
            let secret = key.to_string();
            // Writing into a string cannot fail.
            let _ = writeln!(
                text,
                "# public key: {}\n{}",
                key.to_public(),
                secret.expose_secret()
            );
        }
        write_text(config, text.as_bytes())
    }

    /// Parses the text of an identity file.
    pub(super) fn parse(path: &Path, text: &[u8]) -> Result<Self, StoreError> {
        let text = std::str::from_utf8(text).map_err(|_| invalid(path, "it is not a text file"))?;
        let mut keys = Vec::new();
        for (number, line) in content_lines(text) {
            let key = line.parse::<x25519::Identity>().map_err(|reason| {
                // The parser's reasons are constants, so no part of a key is printed.
                invalid(
                    path,
                    &format!(
                        "line {number} is not an age secret key (`AGE-SECRET-KEY-1...`): {reason}"
                    ),
                )
            })?;
            keys.push(key);
        }
        if keys.is_empty() {
            return Err(invalid(path, "it holds no key"));
        }
        Ok(Self { keys })
    }

    /// Decrypts the content of a file.
    pub(super) fn open(
        &self,
        path: &Path,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, CipherError> {
        let keys = self.keys.iter().map(|key| key as &dyn age::Identity);
        cipher::decrypt(path, sealed, keys)
    }

    /// Decrypts a file of the store.
    pub(super) fn decrypt(
        &self,
        path: &Path,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        self.open(path, sealed).map_err(|failure| match failure {
            CipherError::Damaged(error) => error,
            CipherError::NoMatchingKey => StoreError::corrupt(
                path,
                "it is not encrypted to the store's identity, or its header was changed",
            ),
        })
    }

    /// Returns the store's own recipient and those of `recipients.txt`.
    pub(super) fn recipients(&self, dir: &Path) -> Result<Vec<x25519::Recipient>, StoreError> {
        let mut recipients = vec![self.keys[0].to_public()];
        let path = dir.join(RECIPIENTS_FILE);
        let Some(content) = read_file(&path)? else {
            return Ok(recipients);
        };
        let text = std::str::from_utf8(&content)
            .map_err(|_| StoreError::corrupt(&path, "it is not a text file"))?;
        for (line, recipient) in content_lines(text) {
            let recipient = recipient.parse().map_err(|reason| StoreError::Recipient {
                path: path.clone(),
                line,
                reason,
            })?;
            if !recipients.contains(&recipient) {
                recipients.push(recipient);
            }
        }
        Ok(recipients)
    }
}

/// Returns the lines that are neither empty nor comments, with their numbers, counted from one.
fn content_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()));
    lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

/// Reads the text of the configured identity file; `None` if it does not exist.
pub(super) fn read_text(config: &StoreConfig) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
    let path = config.identity_path();
    let Some(content) = read_file(&path)? else {
        return check_other(config).map(|()| None);
    };
    match config.passphrase_source() {
        Some(source) if is_protected(&content) => decrypt_text(&path, &content, source).map(Some),
        Some(_) => Err(StoreError::IdentityUnprotected { path }),
        None if is_protected(&content) => Err(StoreError::IdentityProtected { path }),
        None => Ok(Some(content)),
    }
}

/// Writes the text of the configured identity file, protected if a passphrase is configured. A link to the file stays one.
pub(super) fn write_text(config: &StoreConfig, text: &[u8]) -> Result<(), StoreError> {
    let path = config.identity_path();
    let path = fs::canonicalize(&path).unwrap_or(path);
    match config.passphrase_source() {
        None => private::replace(&path, text),
        Some(source) => private::replace(&path, &encrypt_text(config, source, text)?),
    }
}

/// Encrypts the text of an identity file.
pub(super) fn encrypt_text(
    config: &StoreConfig,
    passphrase: &Passphrase,
    text: &[u8],
) -> Result<Vec<u8>, StoreError> {
    let mut recipient = age::scrypt::Recipient::new(read_passphrase(passphrase)?);
    if let Some(log_n) = config.passphrase_work_factor() {
        recipient.set_work_factor(log_n);
    }
    Ok(cipher::encrypt_with(&recipient, text))
}

/// Removes the default identity file of the opposite protection, which the configured one has replaced.
pub(super) fn remove_other(config: &StoreConfig) -> Result<(), StoreError> {
    match config.other_identity_path() {
        Some(other) => private::remove(&other),
        None => Ok(()),
    }
}

/// Reads an identity, passphrase or recipient file as it is; `None` if it does not exist.
pub(super) fn read_file(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
    private::load(path, MAX_KEY_FILE_LEN)
}

/// Returns `true` if the content of an identity file is protected by a passphrase.
pub(super) fn is_protected(content: &[u8]) -> bool {
    content.starts_with(b"age-encryption.org/")
}

/// Returns an error if the default identity file of the opposite protection exists, which is a mistake in the configuration.
pub(super) fn check_other(config: &StoreConfig) -> Result<(), StoreError> {
    let Some(other) = config.other_identity_path() else {
        return Ok(());
    };
    if private::open(&other)?.is_none() {
        return Ok(());
    }
    match config.passphrase_source() {
        None => Err(StoreError::IdentityProtected { path: other }),
        Some(_) => Err(StoreError::IdentityUnprotected { path: other }),
    }
}

/// Decrypts the content of an identity file.
pub(super) fn decrypt_text(
    path: &Path,
    content: &[u8],
    passphrase: &Passphrase,
) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let key = age::scrypt::Identity::new(read_passphrase(passphrase)?);
    cipher::decrypt(path, content, std::iter::once(&key as &dyn age::Identity)).map_err(|failure| {
        match failure {
            CipherError::Damaged(error) => error,
            CipherError::NoMatchingKey => StoreError::WrongPassphrase {
                path: path.to_owned(),
                passphrase: match passphrase {
                    Passphrase::File(file) => Some(file.clone()),
                    Passphrase::Entered(_) => None,
                },
            },
        }
    })
}

fn read_passphrase(source: &Passphrase) -> Result<SecretString, StoreError> {
    match source {
        Passphrase::File(path) => read_passphrase_file(path),
        Passphrase::Entered(value) => match std::str::from_utf8(value.expose()) {
            Ok(text) if !text.is_empty() => Ok(SecretString::from(text)),
            _ => Err(StoreError::UnusablePassphrase),
        },
    }
}

fn read_passphrase_file(path: &Path) -> Result<SecretString, StoreError> {
    let unusable = |reason: &str| StoreError::Passphrase {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    let content = read_file(path)?.ok_or_else(|| unusable("there is no such file"))?;
    let text = std::str::from_utf8(&content).map_err(|_| unusable("it is not a text file"))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(SecretString::from(line)),
        _ => Err(unusable("its first line, the passphrase, is empty")),
    }
}

fn invalid(path: &Path, reason: &str) -> StoreError {
    StoreError::Identity {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}
