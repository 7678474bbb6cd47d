//! The store: secrets in a directory, each version in an age file of its own, named by an encrypted index.

mod cache;
mod cipher;
mod identity;
mod index;
mod lock;
mod private;
mod reader;
mod steps;
mod writer;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use keyway_secrets::{Envelope, Id, Pattern, SecretValue};

use self::cache::ValueCache;
use self::index::Record;
use self::reader::Loaded;
use crate::{StoreConfig, StoreError};

/// The largest value, in bytes: 8 MiB.
pub const MAX_VALUE_LEN: usize = 8 * 1024 * 1024;
/// The largest sum of the values that one [`Store::get`] returns, with some 256 bytes for each: 15 MiB. A message of the
/// protocol usually may have 16.
pub const MAX_ANSWER_LEN: u64 = 15 * 1024 * 1024;
/// What a secret adds to an answer beside its value.
const OVERHEAD: u64 = 256;

/// Secrets in a directory, encrypted with age.
///
/// A `Store` is a handle: making one touches nothing, and each call sees what any process wrote before it. Reading
/// never waits for a writer; writers take turns. All methods block the thread for the time of the file operations.
///
/// What is on the disk:
///
/// ```text
/// identity.txt    the secret key (identity.age: the same, protected by a passphrase)
/// recipients.txt  optional: further age recipients to which new files are encrypted as well
/// index.age       which secrets there are, and which file holds each version
/// values/*.age    one file for each version, encrypted; the name says nothing about the secret
/// store.lock      taken by writers
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
    /// What the last read found, valid as long as the index file is the same one.
    loaded: Mutex<Option<std::sync::Arc<Loaded>>>,
    values: Mutex<ValueCache>,
}

/// One version of a secret, without its value.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Version {
    /// Counts from one for each secret, and starts again when a secret was removed.
    pub number: u64,
    /// When it was stored.
    pub created_at: Option<SystemTime>,
    /// Bytes of its value.
    pub len: u64,
}

/// A secret in a listing: its current version, never its value.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Entry {
    /// The secret.
    pub id: Id,
    /// Its current version.
    pub current: Version,
}

impl Version {
    fn of(record: &Record) -> Self {
        Self {
            number: record.version,
            created_at: record.created_at(),
            len: record.len,
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
    /// A handle on the store that `config` describes. Touches nothing yet.
    pub fn new(config: StoreConfig) -> Self {
        Self {
            config,
            loaded: Mutex::default(),
            values: Mutex::default(),
        }
    }

    /// The store's directory.
    pub fn dir(&self) -> &std::path::Path {
        self.config.dir()
    }

    /// The current versions of all secrets that match, in the order of their ids. A store that nobody wrote to yet is
    /// empty.
    ///
    /// # Errors
    ///
    /// When the store cannot be read in full, see [`StoreError`]; [`StoreError::AnswerTooLarge`] when the values
    /// together exceed [`MAX_ANSWER_LEN`].
    pub fn get(&self, pattern: &Pattern) -> Result<Vec<Envelope>, StoreError> {
        let found = self.get_up_to(MAX_ANSWER_LEN, pattern)?;
        Ok(found.expect("what is longer is an error"))
    }

    /// As [`get`](Self::get), but decrypts nothing when the answer would be longer than `limit` bytes: `Err` has its length
    /// then, ids and what belongs to them included.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get).
    pub fn get_up_to(
        &self,
        limit: u64,
        pattern: &Pattern,
    ) -> Result<Result<Vec<Envelope>, u64>, StoreError> {
        self.with_index(|loaded| {
            let matches = loaded.matching(pattern);
            let bytes = check_size(&matches)?;
            if bytes > limit {
                return Ok(Err(bytes));
            }
            let envelopes = matches.into_iter();
            let envelopes = envelopes.map(|(id, record)| self.envelope(loaded, id, record));
            envelopes.collect::<Result<_, _>>().map(Ok)
        })
        .map(|found| found.unwrap_or(Ok(Vec::new())))
    }

    /// As [`get`](Self::get), if that needs no decryption because all values were asked for lately; else `None`.
    ///
    /// Costs two to three system calls, so an async caller may do it without leaving its thread.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get).
    pub fn get_cached(&self, pattern: &Pattern) -> Result<Option<Vec<Envelope>>, StoreError> {
        let Some(loaded) = self.current_if_loaded()? else {
            return Ok(None);
        };
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let cached = |(id, record): (&Id, &Record)| {
            values
                .get(&record.file)
                .map(|value| finish(id, record, value))
        };
        Ok(loaded.matching(pattern).into_iter().map(cached).collect())
    }

    /// The value of one version of a secret, `None` when it is not kept.
    ///
    /// # Errors
    ///
    /// When the store cannot be read, see [`StoreError`].
    pub fn get_version(&self, id: &Id, number: u64) -> Result<Option<SecretValue>, StoreError> {
        let found = self.with_index(|loaded| {
            let versions = loaded.index.secrets.get(id);
            let record =
                versions.and_then(|all| all.iter().find(|record| record.version == number));
            record.map(|record| self.value(loaded, record)).transpose()
        })?;
        Ok(found.flatten())
    }

    /// The secrets that match, in the order of their ids.
    ///
    /// # Errors
    ///
    /// When the store cannot be read, see [`StoreError`].
    pub fn list(&self, pattern: &Pattern) -> Result<Vec<Entry>, StoreError> {
        self.with_index(|loaded| {
            let matches = loaded.matching(pattern).into_iter();
            Ok(matches
                .map(|(id, record)| Entry {
                    id: id.clone(),
                    current: Version::of(record),
                })
                .collect())
        })
        .map(Option::unwrap_or_default)
    }

    /// The versions of a secret that are kept, oldest first; none for a secret that does not exist.
    ///
    /// # Errors
    ///
    /// When the store cannot be read, see [`StoreError`].
    pub fn versions(&self, id: &Id) -> Result<Vec<Version>, StoreError> {
        self.with_index(|loaded| {
            let versions = loaded
                .index
                .secrets
                .get(id)
                .map(Vec::as_slice)
                .unwrap_or_default();
            Ok(versions.iter().map(Version::of).collect())
        })
        .map(Option::unwrap_or_default)
    }

    /// Stores a value as the new current version of a secret, and makes it durable. The first call makes the directory
    /// and the identity.
    ///
    /// # Errors
    ///
    /// [`StoreError::ValueTooLarge`], [`StoreError::Locked`], or what makes the store unreadable. The store is then as
    /// it was before.
    pub fn set(&self, id: &Id, value: &SecretValue) -> Result<Version, StoreError> {
        if value.len() > MAX_VALUE_LEN {
            return Err(StoreError::ValueTooLarge {
                id: id.clone(),
                len: value.len(),
                max: MAX_VALUE_LEN,
            });
        }
        self.write_value(id, value)
            .map(|record| Version::of(&record))
    }

    /// Removes a secret with all its versions; `false` when there is none.
    ///
    /// The files are deleted, not overwritten: what a disk keeps of a deleted file is still encrypted.
    ///
    /// # Errors
    ///
    /// As for [`set`](Self::set).
    pub fn remove(&self, id: &Id) -> Result<bool, StoreError> {
        self.remove_secret(id)
    }

    /// Encrypts everything again, to the identity's first key and the present `recipients.txt`. Returns how many
    /// versions that were.
    ///
    /// # Errors
    ///
    /// As for [`set`](Self::set).
    pub fn reencrypt(&self) -> Result<usize, StoreError> {
        self.reencrypt_all()
    }

    fn envelope(&self, loaded: &Loaded, id: &Id, record: &Record) -> Result<Envelope, StoreError> {
        let value = self.value(loaded, record)?;
        Ok(finish(id, record, value))
    }

    fn index_path(&self) -> PathBuf {
        self.config.dir().join("index.age")
    }

    fn values_dir(&self) -> PathBuf {
        self.config.dir().join("values")
    }

    fn value_path(&self, file: &str) -> PathBuf {
        self.values_dir().join(format!("{file}.age"))
    }
}

fn finish(id: &Id, record: &Record, value: SecretValue) -> Envelope {
    let mut envelope = Envelope::new(id.clone(), value);
    envelope.version = record.version.to_string();
    envelope.created_at = record.created_at();
    envelope
}

/// The length of an answer, which must not be too long.
fn check_size(matches: &[(&Id, &Record)]) -> Result<u64, StoreError> {
    let sizes = matches
        .iter()
        .map(|(_, record)| record.len.saturating_add(OVERHEAD));
    let bytes = sizes.fold(0, u64::saturating_add);
    if bytes <= MAX_ANSWER_LEN {
        return Ok(bytes);
    }
    Err(StoreError::AnswerTooLarge {
        count: matches.len(),
        bytes,
        max: MAX_ANSWER_LEN,
    })
}
