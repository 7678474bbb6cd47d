//! Changes of the identity: a new key, and the passphrase of its file.

use std::path::{Path, PathBuf};

use keyway_secrets::SecretValue;

use super::identity::{self, Identity};
use super::{Store, private};
use crate::config::{PLAIN_IDENTITY, PROTECTED_IDENTITY};
use crate::{StoreConfig, StoreError};

/// The protection of the identity of a store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(
    clippy::exhaustive_enums,
    reason = "a file is there or not, and age has one form of a passphrase"
)]
pub enum Protection {
    /// There is no identity yet.
    NoIdentity,
    /// Every reader of the file has the key.
    Unprotected,
    /// A passphrase protects the key.
    Passphrase,
}

impl Store {
    /// Returns whether the identity is protected, whatever the configuration says. Of the two default files the unprotected one
    /// counts.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if an identity file cannot be read.
    pub fn protection(&self) -> Result<Protection, StoreError> {
        for path in self.identity_paths() {
            if let Some(content) = identity::read_file(&path)? {
                return Ok(match identity::is_protected(&content) {
                    true => Protection::Passphrase,
                    false => Protection::Unprotected,
                });
            }
        }
        Ok(Protection::NoIdentity)
    }

    /// Creates a new identity and encrypts everything again, to it and to the current `recipients.txt`. Returns the number of
    /// versions. `keep_old` names a new file for the present identity, which opens former backups.
    ///
    /// The identity file holds both keys until the index is replaced, so that a crash at any time leaves a store that opens.
    ///
    /// # Errors
    ///
    /// Returns [`StoreError::NoStore`] if there is no store, [`StoreError::Exists`] if the file of `keep_old` exists, and the errors
    /// of [`set`](Self::set). The store opens then, with the old key or with both.
    pub fn rekey(&self, keep_old: Option<&Path>) -> Result<usize, StoreError> {
        if self.load()?.is_none() {
            return Err(self.no_store());
        }
        let mut transaction = self.begin()?;
        if let Some(path) = keep_old {
            self.copy_identity(path)?;
        }
        let old = &transaction.loaded.identity;
        let new = Identity::generate();
        new.followed_by(old).write(&self.config)?;
        transaction.recipients = new.recipients(self.config.dir())?;
        let count = self.reencrypt_in(&transaction)?;
        new.write(&self.config)?;
        identity::remove_other(&self.config)?;
        Ok(count)
    }

    /// Protects the identity with a passphrase, or with `None` removes its passphrase. The key stays the same. Where there is no store,
    /// one with a protected identity is created.
    ///
    /// The new file is durable before the former one is removed, so that a crash at any time leaves a store that opens with the old or
    /// the new passphrase.
    ///
    /// # Errors
    ///
    /// Returns [`StoreError::NoStore`] if there is no store to remove a passphrase from, and the errors of [`set`](Self::set). The identity
    /// is unchanged then, unless only the former file could not be removed.
    pub fn set_passphrase(&self, passphrase: Option<&SecretValue>) -> Result<(), StoreError> {
        let after = self.config.protected_by(passphrase);
        if self.load()?.is_none() {
            return match passphrase {
                Some(_) => Self::new(after).begin().map(|_| ()),
                None => Err(self.no_store()),
            };
        }
        let _transaction = self.begin()?;
        let text = identity::read_text(&self.config)?.ok_or_else(|| self.identity_missing())?;
        if self.config.has_passphrase() || after.has_passphrase() {
            identity::write_text(&after, &text)?;
        }
        identity::remove_other(&after)
    }

    /// Returns the paths at which the identity may be, the unprotected one first.
    pub(super) fn identity_paths(&self) -> Vec<PathBuf> {
        match self.config.is_identity_elsewhere() {
            true => vec![self.config.identity_path()],
            false => [PLAIN_IDENTITY, PROTECTED_IDENTITY]
                .map(|name| self.config.dir().join(name))
                .to_vec(),
        }
    }

    fn copy_identity(&self, path: &Path) -> Result<(), StoreError> {
        let present = self.config.identity_path();
        let content = identity::read_file(&present)?.ok_or_else(|| self.identity_missing())?;
        private::create(path, &content).map_err(already_exists(path))
    }

    pub(super) fn no_store(&self) -> StoreError {
        StoreError::NoStore {
            dir: self.config.dir().to_owned(),
        }
    }

    pub(super) fn identity_missing(&self) -> StoreError {
        StoreError::IdentityMissing {
            dir: self.config.dir().to_owned(),
            path: self.config.identity_path(),
        }
    }

    /// Returns the configuration.
    pub fn config(&self) -> &StoreConfig {
        &self.config
    }
}

/// Returns a function that names the error of a file that exists.
pub(super) fn already_exists(path: &Path) -> impl FnOnce(StoreError) -> StoreError {
    move |error| match error {
        StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::AlreadyExists => {
            StoreError::Exists {
                path: path.to_owned(),
            }
        }
        error => error,
    }
}
