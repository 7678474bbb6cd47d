//! Restoring a backup: it is checked in full before the store is touched, and the replaced store is kept.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use keyway_secrets::SecretValue;
use rustix::io::Errno;
use zeroize::Zeroizing;

use super::backup::{Backup, invalid};
use super::cipher::CipherError;
use super::identity::{self, Identity, RECIPIENTS_FILE};
use super::index::{self, Index, Record};
use super::reader::{MAX_INDEX_LEN, digest, open_value};
use super::steps::{self, Step};
use super::{INDEX_FILE, Store, VALUES_DIR, private};
use crate::config::{PLAIN_IDENTITY, PROTECTED_IDENTITY, Passphrase};
use crate::{StoreConfig, StoreError};

/// The identity that opens a backup.
#[derive(Clone, Debug)]
#[allow(
    clippy::exhaustive_enums,
    reason = "an identity is in the store, in the backup, or elsewhere"
)]
pub enum RestoreKey {
    /// The identity of the store, which stays.
    OfStore,
    /// The identity in the backup, which this passphrase opens.
    OfBackup(SecretValue),
    /// The identity in this file, with its passphrase if it is protected.
    OfFile(PathBuf, Option<SecretValue>),
}

/// A backup of which every file was decrypted and compared with its index.
pub struct CheckedBackup {
    backup: Backup,
    index: Index,
    /// The identity that takes the place of the present one; `None` if that one opens the backup.
    identity: Option<NewIdentity>,
}

struct NewIdentity {
    keys: Identity,
    /// The content of the identity file.
    content: Zeroizing<Vec<u8>>,
    passphrase: Option<SecretValue>,
}

/// The result of [`Store::install`].
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Installed {
    /// The directory with the store that was replaced, complete with its identity; `None` if there was none.
    pub replaced: Option<PathBuf>,
    /// Number of secrets.
    pub n_secrets: usize,
    /// `true` if the identity was replaced.
    pub has_new_identity: bool,
}

impl CheckedBackup {
    /// Returns the time of the backup; `None` if the system cannot represent it.
    pub fn created_at(&self) -> Option<SystemTime> {
        self.backup.created_at()
    }

    /// Returns the number of secrets in the backup.
    pub fn n_secrets(&self) -> usize {
        self.index.secrets.len()
    }

    /// Returns `true` if the identity of the store is replaced, too.
    pub fn replaces_identity(&self) -> bool {
        self.identity.is_some()
    }

    /// Returns `true` if the backup has a list of further recipients.
    pub fn has_recipients(&self) -> bool {
        self.backup.recipients.is_some()
    }
}

impl fmt::Debug for CheckedBackup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckedBackup")
            .field("path", &self.backup.path())
            .field("n_secrets", &self.n_secrets())
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Decrypts every file of a backup and compares it with the index of the backup. Changes nothing.
    ///
    /// # Errors
    ///
    /// Returns [`StoreError::BackupOfOtherIdentity`] if the identity does not open the backup, [`StoreError::WrongPassphrase`] if the
    /// passphrase does not open the identity, [`StoreError::IdentityElsewhere`] if the identity would have to be replaced and is
    /// outside of the store, and [`StoreError::InvalidBackup`] if the backup is damaged or incomplete.
    pub fn check_backup(
        &self,
        backup: Backup,
        key: RestoreKey,
    ) -> Result<CheckedBackup, StoreError> {
        let path = backup.path();
        let identity = self.new_identity(&backup, key)?;
        let present;
        let keys = match &identity {
            Some(identity) => &identity.keys,
            None => {
                let loaded = Identity::load(&self.config)?;
                present = loaded.ok_or_else(|| self.identity_missing())?;
                &present
            }
        };
        let text = keys
            .open(path, &backup.index)
            .map_err(|failure| match failure {
                CipherError::NoMatchingKey => StoreError::BackupOfOtherIdentity {
                    path: path.to_owned(),
                },
                CipherError::Damaged(_) => invalid(path, "its index is damaged"),
            })?;
        let index = Index::parse(path, &text)?;
        check_values(&backup, keys, &index)?;
        Ok(CheckedBackup {
            backup,
            index,
            identity,
        })
    }

    /// Returns the identity that takes the place of the present one.
    fn new_identity(
        &self,
        backup: &Backup,
        key: RestoreKey,
    ) -> Result<Option<NewIdentity>, StoreError> {
        let (path, content, passphrase) = match key {
            RestoreKey::OfStore => return Ok(None),
            _ if self.config.is_identity_elsewhere() => {
                return Err(StoreError::IdentityElsewhere {
                    path: self.config.identity_path(),
                });
            }
            RestoreKey::OfBackup(passphrase) => {
                let content = backup.identity.clone();
                let content = content.ok_or_else(|| StoreError::BackupOfOtherIdentity {
                    path: backup.path().to_owned(),
                })?;
                let content = Zeroizing::new(content);
                (backup.path().to_owned(), content, Some(passphrase))
            }
            RestoreKey::OfFile(path, passphrase) => {
                let content = identity::read_file(&path)?;
                let missing = || StoreError::io("open", &path)(Errno::NOENT.into());
                let content = content.ok_or_else(missing)?;
                (path, content, passphrase)
            }
        };
        let passphrase = passphrase.filter(|_| identity::is_protected(&content));
        let text = match &passphrase {
            Some(passphrase) => {
                let passphrase = Passphrase::Entered(passphrase.clone());
                identity::decrypt_text(&path, &content, &passphrase)?
            }
            None if identity::is_protected(&content) => {
                return Err(StoreError::IdentityProtected { path });
            }
            None => content.clone(),
        };
        Ok(Some(NewIdentity {
            keys: Identity::parse(&path, &text)?,
            content,
            passphrase,
        }))
    }

    /// Makes the store that of a checked backup. The replaced store is complete in a directory of its own before any file is replaced. A
    /// crash at any time leaves a store that opens, with the former identity or the new one.
    ///
    /// Readers see the former store until the index is replaced, and the restored one from then on; writers wait.
    ///
    /// # Errors
    ///
    /// Returns [`StoreError::InvalidBackup`] if the backup was changed since it was checked, [`StoreError::Locked`] if a writer holds the
    /// lock for the whole timeout, and another [`StoreError`] if a file cannot be written. The former store is in place then.
    pub fn install(&self, checked: &CheckedBackup) -> Result<Installed, StoreError> {
        let _lock = self.lock()?;
        let replaced = self.keep_present()?;
        let written = self
            .write_values(checked)
            .and_then(|()| self.write_recipients(checked.backup.recipients.as_deref()));
        if let Err(error) = written {
            self.discard(replaced.as_deref());
            return Err(error);
        }
        let after = self.begin_identity(checked.identity.as_ref())?;
        private::replace(&self.index_path(), &checked.backup.index)?;
        if let (Some(new), Some(after)) = (&checked.identity, after) {
            private::replace(&after.identity_path(), &new.content)?;
            identity::remove_other(&after)?;
        }
        self.remove_unused(&checked.index);
        Ok(Installed {
            replaced,
            n_secrets: checked.n_secrets(),
            has_new_identity: checked.identity.is_some(),
        })
    }

    /// Gives every file of the store a second name in a new directory, readable or not. Returns that directory; `None` for a directory
    /// without a store.
    fn keep_present(&self) -> Result<Option<PathBuf>, StoreError> {
        let dir = self.config.dir();
        let values = self.value_files()?;
        if values.is_empty() && !self.index_path().exists() {
            return Ok(None);
        }
        let kept = dir.join(private::temporary_name()?);
        let kept_values = kept.join(VALUES_DIR);
        let mut builder = DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(&kept_values)
            .map_err(StoreError::io("create the directory", &kept_values))?;
        for (name, path) in values {
            link_or_copy(&path, &kept_values.join(format!("{name}.age")))?;
        }
        for name in [
            INDEX_FILE,
            RECIPIENTS_FILE,
            PLAIN_IDENTITY,
            PROTECTED_IDENTITY,
        ] {
            let path = dir.join(name);
            if path.exists() {
                link_or_copy(&path, &kept.join(name))?;
            }
        }
        private::sync_dir(&kept_values)?;
        private::sync_dir(&kept)?;
        let named = self.replaced_dir();
        fs::rename(&kept, &named).map_err(StoreError::io("rename", &kept))?;
        steps::reached(Step::Renamed);
        private::sync_dir(dir)?;
        Ok(Some(named))
    }

    /// Returns a new name for a replaced store.
    fn replaced_dir(&self) -> PathBuf {
        // Not before 1970, whatever the clock says.
        let now = index::time(index::now_ms()).unwrap_or(UNIX_EPOCH);
        let time = humantime::format_rfc3339_seconds(now).to_string();
        let time = time.replace([':', '-'], "");
        let names = (1..).map(|number| match number {
            1 => format!("replaced-{time}"),
            number => format!("replaced-{time}-{number}"),
        });
        let mut paths = names.map(|name| self.config.dir().join(name));
        let free = paths.find(|path| path.symlink_metadata().is_err());
        free.expect("one of infinitely many names is free")
    }

    /// Writes the values that the index of the backup lists, beside those of the present store.
    fn write_values(&self, checked: &CheckedBackup) -> Result<(), StoreError> {
        let listed = listed(&checked.index);
        let changed = || invalid(checked.backup.path(), "it was changed meanwhile");
        let mut n_written = 0;
        checked.backup.each_value(|name, content| {
            let Some(record) = listed.get(name) else {
                return Ok(());
            };
            if digest(content) != record.sha256 {
                return Err(changed());
            }
            n_written += 1;
            let path = self.value_path(name);
            match private::create(&path, content) {
                Err(StoreError::Io { source, .. })
                    if source.kind() == io::ErrorKind::AlreadyExists =>
                {
                    Self::overwrite_if_damaged(&path, content)
                }
                created => created,
            }
        })?;
        match n_written >= listed.len() {
            true => private::sync_dir(&self.values_dir()),
            false => Err(changed()),
        }
    }

    /// A file of the same name has the same content, unless it is damaged.
    fn overwrite_if_damaged(path: &Path, content: &[u8]) -> Result<(), StoreError> {
        match fs::read(path) {
            Ok(present) if present == content => Ok(()),
            _ => private::replace(path, content),
        }
    }

    /// Makes the list of further recipients that of the backup.
    fn write_recipients(&self, recipients: Option<&[u8]>) -> Result<(), StoreError> {
        let path = self.config.dir().join(RECIPIENTS_FILE);
        match recipients {
            Some(content) => private::replace(&path, content),
            None => private::remove(&path),
        }
    }

    /// Writes the identity file that opens the restored store, with the present keys after its own if they are in the same file, because
    /// the present index is still in place. Returns the configuration of that file; `None` if the identity stays.
    fn begin_identity(&self, new: Option<&NewIdentity>) -> Result<Option<StoreConfig>, StoreError> {
        let Some(new) = new else {
            return Ok(None);
        };
        let after = self.config.protected_by(new.passphrase.as_ref());
        // A protected file whose passphrase is another one cannot be read; the kept directory has it.
        let present = [&self.config, &after]
            .into_iter()
            .filter(|config| config.identity_path() == after.identity_path())
            .find_map(|config| Identity::load(config).ok().flatten());
        match present {
            Some(present) => new.keys.followed_by(&present).write(&after)?,
            None => private::replace(&after.identity_path(), &new.content)?,
        }
        Ok(Some(after))
    }

    /// Removes the files of a failed restore. The next writer removes those that cannot be removed now.
    fn discard(&self, kept: Option<&Path>) {
        if let Ok(Some(loaded)) = self.load() {
            self.remove_unused(&loaded.index);
        }
        if let Some(kept) = kept {
            let _ = fs::remove_dir_all(kept);
        }
    }
}

/// Copies a file under a second name: a link where the file system has links, because no file of a store is changed in its place.
fn link_or_copy(from: &Path, to: &Path) -> Result<(), StoreError> {
    if fs::hard_link(from, to).is_err()
        && let Some(content) = private::load(from, MAX_INDEX_LEN)?
    {
        private::create(to, &content)?;
    }
    steps::reached(Step::Linked);
    Ok(())
}

/// Returns the versions of an index by the names of their files.
fn listed(index: &Index) -> HashMap<&str, &Record> {
    index
        .records()
        .map(|record| (record.file.as_str(), record))
        .collect()
}

/// Decrypts every value that the index lists.
fn check_values(backup: &Backup, keys: &Identity, index: &Index) -> Result<(), StoreError> {
    let listed = listed(index);
    let mut found = HashSet::new();
    backup.each_value(|name, content| {
        if let Some(record) = listed.get(name) {
            open_value(keys, record, backup.path(), content)
                .map_err(|_| invalid(backup.path(), "one of its values is damaged"))?;
            found.insert(name.to_owned());
        }
        Ok(())
    })?;
    match listed.len() - found.len() {
        0 => Ok(()),
        missing => {
            let reason = format!("{missing} of its {} values are missing", listed.len());
            Err(invalid(backup.path(), &reason))
        }
    }
}
