//! The identity: the keys that decrypt the store, in their own file.

use std::fmt::Write as _;
use std::path::Path;

use age::secrecy::{ExposeSecret, SecretString};
use age::x25519;
use zeroize::Zeroizing;

use super::cipher::{self, CipherError};
use super::private;
use crate::{StoreConfig, StoreError};

/// Largest identity, passphrase or recipient file in bytes.
const MAX_KEY_FILE_LEN: u64 = 64 * 1024;
/// Name of the list of further recipients in the store's directory.
const RECIPIENTS_FILE: &str = "recipients.txt";

/// Keys that decrypt the store. New files are encrypted to the first one.
pub(super) struct Identity {
    keys: Vec<x25519::Identity>,
}

impl Identity {
    /// Reads the configured identity file; `None` if it does not exist.
    pub(super) fn load(config: &StoreConfig) -> Result<Option<Self>, StoreError> {
        let path = config.identity_path();
        let Some((file, metadata)) = private::open(&path)? else {
            return reject_mismatched_identity(config);
        };
        let content = private::read(&path, &file, &metadata, MAX_KEY_FILE_LEN)?;
        let text = match config.passphrase_path() {
            Some(passphrase) => decrypt_identity(&path, &content, passphrase)?,
            None if content.starts_with(b"age-encryption.org/") => {
                return Err(StoreError::IdentityProtected { path });
            }
            None => content,
        };
        Self::parse(&path, &text).map(Some)
    }

    /// Creates a new identity and writes its file.
    pub(super) fn create(config: &StoreConfig) -> Result<Self, StoreError> {
        let path = config.identity_path();
        let key = x25519::Identity::generate();
        let secret = key.to_string();
        let mut text = Zeroizing::new(String::with_capacity(256));
        // Writing into a string cannot fail.
        let _ = writeln!(
            text,
            "# public key: {}\n{}",
            key.to_public(),
            secret.expose_secret()
        );
        match config.passphrase_path() {
            None => private::replace(&path, text.as_bytes())?,
            Some(file) => {
                let mut recipient = age::scrypt::Recipient::new(read_passphrase(file)?);
                if let Some(log_n) = config.passphrase_work_factor() {
                    recipient.set_work_factor(log_n);
                }
                private::replace(&path, &cipher::encrypt_with(&recipient, text.as_bytes()))?;
            }
        }
        Ok(Self { keys: vec![key] })
    }

    fn parse(path: &Path, text: &[u8]) -> Result<Self, StoreError> {
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

    /// Decrypts a file of the store.
    pub(super) fn decrypt(
        &self,
        path: &Path,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let keys = self.keys.iter().map(|key| key as &dyn age::Identity);
        cipher::decrypt(path, sealed, keys).map_err(|failure| match failure {
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
        let Some((file, metadata)) = private::open(&path)? else {
            return Ok(recipients);
        };
        let content = private::read(&path, &file, &metadata, MAX_KEY_FILE_LEN)?;
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

/// Returns an error if the expected identity is missing but one with the opposite protection exists, which is a mistake
/// in the configuration.
fn reject_mismatched_identity(config: &StoreConfig) -> Result<Option<Identity>, StoreError> {
    let Some(other) = config.other_identity_path() else {
        return Ok(None);
    };
    if private::open(&other)?.is_none() {
        return Ok(None);
    }
    if config.passphrase_path().is_none() {
        return Err(StoreError::IdentityProtected { path: other });
    }
    Err(StoreError::IdentityUnprotected { path: other })
}

fn decrypt_identity(
    path: &Path,
    content: &[u8],
    passphrase: &Path,
) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let key = age::scrypt::Identity::new(read_passphrase(passphrase)?);
    cipher::decrypt(path, content, std::iter::once(&key as &dyn age::Identity)).map_err(|failure| {
        match failure {
            CipherError::Damaged(error) => error,
            CipherError::NoMatchingKey => StoreError::WrongPassphrase {
                path: path.to_owned(),
                passphrase: passphrase.to_owned(),
            },
        }
    })
}

fn read_passphrase(path: &Path) -> Result<SecretString, StoreError> {
    let unusable = |reason: &str| StoreError::Passphrase {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    let (file, metadata) = private::open(path)?.ok_or_else(|| unusable("there is no such file"))?;
    let content = private::read(path, &file, &metadata, MAX_KEY_FILE_LEN)?;
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
