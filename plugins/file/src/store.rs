//! The store: secrets in a directory, each version in its own age file, listed by an encrypted index.

mod backup;
mod cache;
mod cipher;
mod identity;
mod index;
mod keys;
mod lock;
mod private;
mod reader;
mod restore;
mod steps;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use keyway_plugin_sdk::StoredVersion;
use keyway_secrets::{Envelope, Id, Pattern, SecretValue};

pub use self::backup::{Backup, BackupReport};
use self::cache::ValueCache;
use self::index::{Record, Retention};
pub use self::keys::Protection;
use self::reader::Loaded;
pub use self::restore::{CheckedBackup, Installed, RestoreKey};
use crate::{Expected, StoreConfig, StoreError};

/// Largest value in bytes: 8 MiB.
pub const MAX_VALUE_LEN: usize = 8 * 1024 * 1024;
/// Largest result of [`Store::get`] in bytes, values plus 256 bytes each: 15 MiB. A message of the protocol
/// may usually have 16 MiB.
pub const MAX_RESPONSE_LEN: u64 = 15 * 1024 * 1024;
/// Name of the index in the store's directory.
const INDEX_FILE: &str = "index.age";
/// Name of the directory of values in the store's directory.
const VALUES_DIR: &str = "values";
/// Assumed size of an encoded envelope without its value, in bytes.
const ENVELOPE_OVERHEAD: u64 = 256;

/// Secrets in a directory, encrypted with age.
///
/// A `Store` is a handle: creating one opens no file, and each call sees all writes of any process before it. Reading
/// never waits for a writer; writers exclude each other. All methods block the thread during file operations.
///
/// Files:
///
/// ```text
/// identity.txt    the secret key (identity.age: the same, protected by a passphrase)
/// recipients.txt  optional: further age recipients to which new files are encrypted as well
/// index.age       the secrets, and the file of each version
/// values/*.age    one file per version, encrypted; the name reveals nothing about the secret
/// store.lock      locked by writers
/// replaced-*      a store that a restored backup has replaced
/// ```
///
/// ```
/// use keyway_plugin_file::{Store, StoreConfig};
///
/// # let dir = tempfile::tempdir()?;
/// let store = Store::new(StoreConfig::new(dir.path().join("store")));
/// let id = "db/password".parse()?;
/// store.set(&id, &"correct horse".into())?;
/// let envelopes = store.get(&"db/*".parse()?)?;
/// assert_eq!(envelopes[0].value.expose(), b"correct horse");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Store {
    config: StoreConfig,
    /// The index that was read last, valid while its file is unchanged.
    loaded: Mutex<Option<std::sync::Arc<Loaded>>>,
    values: Mutex<ValueCache>,
}

/// One version of a secret, without its value.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Version {
    /// Number of the version, counted from one per secret. A number is not used again while a version with it is kept.
    pub number: u64,
    /// The time when the version was stored.
    pub created_at: Option<SystemTime>,
    /// Length of its value in bytes.
    pub len: u64,
    /// Attributes of the version; not secret.
    pub metadata: BTreeMap<String, String>,
    /// The time when the version was removed; `None` unless it was.
    pub removed_at: Option<SystemTime>,
}

impl From<Version> for StoredVersion {
    fn from(version: Version) -> Self {
        let mut stored = Self::new(version.number.to_string());
        stored.created_at = version.created_at;
        stored.removed_at = version.removed_at;
        stored.metadata = version.metadata;
        stored
    }
}

/// A secret in a listing: its current version, never its value.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Entry {
    /// Id of the secret.
    pub id: Id,
    /// Its current version.
    pub current: Version,
}

impl Version {
    fn from_record(record: &Record) -> Self {
        Self {
            number: record.version,
            created_at: record.created_at(),
            len: record.len,
            metadata: record.metadata.clone(),
            removed_at: record.removed_at(),
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Creates a handle on the store of `config`. Opens no file.
    pub fn new(config: StoreConfig) -> Self {
        Self {
            config,
            loaded: Mutex::default(),
            values: Mutex::default(),
        }
    }

    /// Returns the store's directory.
    pub fn dir(&self) -> &std::path::Path {
        self.config.dir()
    }

    /// Returns the current versions of all secrets that match, in the order of their ids. A store without a write yet is
    /// empty.
    ///
    /// # Errors
    ///
    /// Returns [`StoreError::ResponseTooLarge`] if the values together exceed [`MAX_RESPONSE_LEN`], and another
    /// [`StoreError`] if the store cannot be read in full.
    pub fn get(&self, pattern: &Pattern) -> Result<Vec<Envelope>, StoreError> {
        let found = self.get_up_to(MAX_RESPONSE_LEN, pattern)?;
        Ok(found.expect("a longer result is an error"))
    }

    /// As [`get`](Self::get), but decrypts nothing if the result would be longer than `limit` bytes. The inner `Err` then
    /// holds that length in bytes, envelopes included.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`get`](Self::get).
    pub fn get_up_to(
        &self,
        limit: u64,
        pattern: &Pattern,
    ) -> Result<Result<Vec<Envelope>, u64>, StoreError> {
        self.with_index(|loaded| {
            let matches = loaded.matching(pattern);
            let bytes = response_len(&matches)?;
            if bytes > limit {
                return Ok(Err(bytes));
            }
            let envelopes = matches.into_iter();
            let envelopes = envelopes.map(|(id, record)| self.envelope(loaded, id, record));
            envelopes.collect::<Result<_, _>>().map(Ok)
        })
        .map(|found| found.unwrap_or(Ok(Vec::new())))
    }

    /// As [`get`](Self::get) if all values are cached; otherwise returns `None`.
    ///
    /// Costs two to three system calls, so an async caller may call it on its own thread.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the files of the store cannot be examined.
    pub fn get_cached(&self, pattern: &Pattern) -> Result<Option<Vec<Envelope>>, StoreError> {
        let Some(loaded) = self.current_if_loaded()? else {
            return Ok(None);
        };
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let cached = |(id, record): (&Id, &Record)| {
            values
                .get(&record.file)
                .map(|value| to_envelope(id, record, value))
        };
        Ok(loaded.matching(pattern).into_iter().map(cached).collect())
    }

    /// Returns the value of one version of a secret, removed or not; `None` if that version is not kept.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the store cannot be read.
    pub fn get_version(&self, id: &Id, number: u64) -> Result<Option<SecretValue>, StoreError> {
        let found = self.with_index(|loaded| {
            let mut history = loaded.index.history(id);
            let record = history.find(|record| record.version == number);
            record.map(|record| self.value(loaded, record)).transpose()
        })?;
        Ok(found.flatten())
    }

    /// Returns the secrets that match, in the order of their ids.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the store cannot be read.
    pub fn list(&self, pattern: &Pattern) -> Result<Vec<Entry>, StoreError> {
        self.with_index(|loaded| {
            let matches = loaded.matching(pattern).into_iter();
            Ok(matches
                .map(|(id, record)| Entry {
                    id: id.clone(),
                    current: Version::from_record(record),
                })
                .collect())
        })
        .map(Option::unwrap_or_default)
    }

    /// Returns the kept versions of a secret, oldest first; empty if the secret does not exist.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the store cannot be read.
    pub fn versions(&self, id: &Id) -> Result<Vec<Version>, StoreError> {
        let mut versions = self.history(id)?;
        versions.retain(|version| version.removed_at.is_none());
        versions.reverse();
        Ok(versions)
    }

    /// Returns all kept versions of a secret, newest first, those included that were removed and can be
    /// [restored](Self::restore); empty if there are none.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the store cannot be read.
    pub fn history(&self, id: &Id) -> Result<Vec<Version>, StoreError> {
        self.with_index(|loaded| {
            let history = loaded.index.history(id);
            let mut versions: Vec<_> = history.map(Version::from_record).collect();
            versions.sort_by_key(|version| std::cmp::Reverse(version.number));
            Ok(versions)
        })
        .map(Option::unwrap_or_default)
    }

    /// Stores a value as the new current version of a secret, durably. The first call creates the directory and the
    /// identity.
    ///
    /// # Errors
    ///
    /// Returns [`StoreError::ValueTooLarge`] if the value exceeds [`MAX_VALUE_LEN`], [`StoreError::Locked`] if another
    /// writer holds the lock for the whole timeout, and another [`StoreError`] if the store cannot be read or written. The
    /// store is then unchanged.
    pub fn set(&self, id: &Id, value: &SecretValue) -> Result<Version, StoreError> {
        self.set_expecting(id, value, &BTreeMap::new(), &Expected::Any)
    }

    /// As [`set`](Self::set), with attributes of the version and the version that must be the current one. No other writer
    /// can write between the comparison and the write.
    ///
    /// # Errors
    ///
    /// Returns [`StoreError::UnexpectedVersion`] if another version is the current one, and the errors of
    /// [`set`](Self::set).
    pub fn set_expecting(
        &self,
        id: &Id,
        value: &SecretValue,
        metadata: &BTreeMap<String, String>,
        expected: &Expected,
    ) -> Result<Version, StoreError> {
        if value.len() > MAX_VALUE_LEN {
            return Err(StoreError::ValueTooLarge {
                id: id.clone(),
                len: value.len(),
                max: MAX_VALUE_LEN,
            });
        }
        self.write_value(id, value, metadata, expected)
            .map(|record| Version::from_record(&record))
    }

    /// Removes a secret with all its versions; returns `false` if there is none. The versions stay for
    /// [`restore`](Self::restore) as long as [`StoreConfig`] says.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`set`](Self::set).
    pub fn remove(&self, id: &Id) -> Result<bool, StoreError> {
        self.remove_expecting(id, None, &Expected::Any)
            .map(|removed| removed > 0)
    }

    /// As [`remove`](Self::remove), for one version if `version` names one, and with the version that must be the current
    /// one. Returns the number of removed versions. Without the current version the one before it becomes the current one.
    ///
    /// # Errors
    ///
    /// Returns [`StoreError::UnexpectedVersion`] if another version is the current one, and the errors of
    /// [`set`](Self::set).
    pub fn remove_expecting(
        &self,
        id: &Id,
        version: Option<u64>,
        expected: &Expected,
    ) -> Result<usize, StoreError> {
        self.remove_versions(id, version, expected)
    }

    /// Deletes a removed version for good, or with `None` all removed versions of the secret. Returns their number.
    ///
    /// The files are deleted, not overwritten: the data that remain on the disk are encrypted.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`set`](Self::set).
    pub fn purge(&self, id: &Id, version: Option<u64>) -> Result<usize, StoreError> {
        self.purge_versions(id, version)
    }

    /// Stores the value of a kept version, removed or not, as the new current version.
    ///
    /// # Errors
    ///
    /// Returns [`StoreError::NotFound`] if that version is not kept, and the errors of [`set`](Self::set).
    pub fn restore(&self, id: &Id, number: u64) -> Result<Version, StoreError> {
        self.restore_version(id, number)
            .map(|record| Version::from_record(&record))
    }

    /// Encrypts everything again, to the identity's first key and the current `recipients.txt`. Returns the number of
    /// versions.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`set`](Self::set).
    pub fn reencrypt(&self) -> Result<usize, StoreError> {
        self.reencrypt_all()
    }

    fn envelope(&self, loaded: &Loaded, id: &Id, record: &Record) -> Result<Envelope, StoreError> {
        let value = self.value(loaded, record)?;
        Ok(to_envelope(id, record, value))
    }

    fn retention(&self) -> Retention {
        Retention {
            max_versions: self.config.max_versions(),
            removed_for: self.config.max_removed_age(),
        }
    }

    fn index_path(&self) -> PathBuf {
        self.config.dir().join(INDEX_FILE)
    }

    fn values_dir(&self) -> PathBuf {
        self.config.dir().join(VALUES_DIR)
    }

    fn value_path(&self, file: &str) -> PathBuf {
        self.values_dir().join(format!("{file}.age"))
    }
}

fn to_envelope(id: &Id, record: &Record, value: SecretValue) -> Envelope {
    let mut envelope = Envelope::new(id.clone(), value);
    envelope.version = record.version.to_string();
    envelope.created_at = record.created_at();
    envelope.metadata = record.metadata.clone();
    envelope
}

/// Returns the length of a response, or an error if it exceeds the limit.
fn response_len(matches: &[(&Id, &Record)]) -> Result<u64, StoreError> {
    let sizes = matches
        .iter()
        .map(|(_, record)| record.len.saturating_add(ENVELOPE_OVERHEAD));
    let bytes = sizes.fold(0, u64::saturating_add);
    if bytes <= MAX_RESPONSE_LEN {
        return Ok(bytes);
    }
    Err(StoreError::ResponseTooLarge {
        count: matches.len(),
        bytes,
        max: MAX_RESPONSE_LEN,
    })
}
