//! Reading: detects a changed index, loads it and decrypts values.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use keyway_secrets::{Id, Pattern, SecretValue};
use sha2::{Digest, Sha256};

use super::cipher::CipherError;
use super::identity::{self, Identity};
use super::index::{Index, Record};
use super::steps::{self, Step};
use super::{MAX_VALUE_LEN, Store, private};
use crate::{StoreConfig, StoreError};

/// Largest index file in bytes, enough for some hundred thousand versions.
pub(super) const MAX_INDEX_LEN: u64 = 128 * 1024 * 1024;
/// Largest value file in bytes: age adds some hundred bytes per recipient, and 16 bytes per 64 KiB.
pub(super) const MAX_VALUE_FILE_LEN: u64 = MAX_VALUE_LEN as u64 + 1024 * 1024;
/// Limit on the restarts of a reader whose files are replaced by writers.
const MAX_RESTARTS: usize = 100;

/// A loaded index and its identity.
pub(super) struct Loaded {
    pub(super) index: Index,
    pub(super) identity: Arc<Identity>,
    identity_stamp: Stamp,
    stamp: Stamp,
    /// Kept open so that its inode number cannot be reused: an equal stamp is the same file.
    _file: File,
}

/// Identifies the state of a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Stamp {
    device: u64,
    inode: u64,
    len: u64,
    mode: u32,
    owner: u32,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            len: metadata.len(),
            mode: metadata.mode(),
            owner: metadata.uid(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Returns the current state of the file at `path`; `None` if it does not exist.
    fn at(path: &Path) -> Result<Option<Self>, StoreError> {
        match std::fs::metadata(path) {
            Ok(metadata) => Ok(Some(Self::of(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("examine", path)(error)),
        }
    }
}

impl Loaded {
    /// Returns the secrets that match, with their current versions, in the order of ids.
    pub(super) fn matching(&self, pattern: &Pattern) -> Vec<(&Id, &Record)> {
        if let Some(id) = pattern.as_id() {
            let found = self.index.secrets.get_key_value(&id).map(|(id, _)| id);
            return found
                .and_then(|id| Some((id, self.index.current(id)?)))
                .into_iter()
                .collect();
        }
        let matching = self
            .index
            .secrets
            .iter()
            .filter(|(id, _)| pattern.matches(id));
        matching
            .filter_map(|(id, versions)| Some((id, versions.last()?)))
            .collect()
    }

    /// Returns `true` if the identity file is unchanged since the index was read.
    fn has_current_identity(&self, config: &StoreConfig) -> Result<bool, StoreError> {
        Ok(Stamp::at(&config.identity_path())? == Some(self.identity_stamp))
    }
}

impl Store {
    /// Runs `read` on the current index, and again if a writer has replaced it meanwhile. Returns `None` for a store without
    /// a write yet.
    pub(super) fn with_index<T>(
        &self,
        read: impl Fn(&Loaded) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let mut restarts = 0;
        loop {
            let Some(loaded) = self.load()? else {
                return Ok(None);
            };
            match read(&loaded) {
                // A writer may have replaced the index after it was read here, and removed a value file of the old one. A
                // missing file is a damage only if the index is unchanged.
                Err(error) if is_missing_file(&error) && restarts < MAX_RESTARTS => {
                    if Stamp::at(&self.index_path())? == Some(loaded.stamp) {
                        return Err(error);
                    }
                    restarts += 1;
                }
                result => return result.map(Some),
            }
        }
    }

    /// Returns the current index, read again only if its file changed; `None` for a store without a write yet.
    pub(super) fn load(&self) -> Result<Option<Arc<Loaded>>, StoreError> {
        if let Some(current) = self.current_if_loaded()? {
            return Ok(Some(current));
        }
        let previous = self
            .loaded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let loaded = self.read_index(previous.as_deref())?.map(Arc::new);
        if let Some(loaded) = &loaded {
            let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
            values.retain(&loaded.index.files());
        }
        self.loaded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone_from(&loaded);
        Ok(loaded)
    }

    /// Returns the loaded index if its files are unchanged.
    pub(super) fn current_if_loaded(&self) -> Result<Option<Arc<Loaded>>, StoreError> {
        let loaded = self
            .loaded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Some(loaded) = loaded else {
            return Ok(None);
        };
        let is_current = Stamp::at(&self.index_path())? == Some(loaded.stamp)
            && loaded.has_current_identity(&self.config)?;
        Ok(is_current.then_some(loaded))
    }

    /// Reads the index and the identity that opens it, again if a writer has replaced the index meanwhile: the identity may then be
    /// newer than the index that was opened.
    fn read_index(&self, previous: Option<&Loaded>) -> Result<Option<Loaded>, StoreError> {
        if !private::check_dir(self.config.dir())? {
            return Ok(None);
        }
        let path = self.index_path();
        let mut restarts = 0;
        loop {
            let Some((file, metadata)) = private::open(&path)? else {
                return self.check_missing_index().map(|()| None);
            };
            steps::reached(Step::IndexOpened);
            let stamp = Stamp::of(&metadata);
            match self.read_opened(previous, file, &metadata) {
                Err(_) if restarts < MAX_RESTARTS && Stamp::at(&path)? != Some(stamp) => {
                    restarts += 1;
                }
                loaded => return loaded.map(Some),
            }
        }
    }

    fn read_opened(
        &self,
        previous: Option<&Loaded>,
        file: File,
        metadata: &Metadata,
    ) -> Result<Loaded, StoreError> {
        let path = self.index_path();
        let (identity, identity_stamp) = self.read_identity(previous)?;
        let sealed = private::read(&path, &file, metadata, MAX_INDEX_LEN)?;
        let text = identity.open(&path, &sealed);
        let text = text.map_err(|failure| self.unopened_index(failure))?;
        Ok(Loaded {
            index: Index::parse(&path, &text)?,
            identity,
            identity_stamp,
            stamp: Stamp::of(metadata),
            _file: file,
        })
    }

    /// Returns the error of an index that the identity does not open. An identity of the opposite protection explains it: the
    /// configuration names the wrong one of the two.
    fn unopened_index(&self, failure: CipherError) -> StoreError {
        match (failure, identity::check_other(&self.config)) {
            (CipherError::Damaged(error), _) | (CipherError::NoMatchingKey, Err(error)) => error,
            (CipherError::NoMatchingKey, Ok(())) => StoreError::OtherIdentity {
                path: self.index_path(),
            },
        }
    }

    /// Returns the identity. Reuses the previous one if its file is unchanged, because decrypting one that is protected by a
    /// passphrase takes a second.
    fn read_identity(
        &self,
        previous: Option<&Loaded>,
    ) -> Result<(Arc<Identity>, Stamp), StoreError> {
        let path = self.config.identity_path();
        let stamp = Stamp::at(&path)?;
        if let (Some(previous), Some(stamp)) = (previous, stamp)
            && previous.identity_stamp == stamp
        {
            return Ok((Arc::clone(&previous.identity), stamp));
        }
        let identity = Identity::load(&self.config)?;
        match identity.zip(stamp) {
            Some((identity, stamp)) => Ok((Arc::new(identity), stamp)),
            None => Err(self.identity_missing()),
        }
    }

    /// Returns an error if the store holds values without an index. The index is written before the first value, so without
    /// values the store is empty.
    fn check_missing_index(&self) -> Result<(), StoreError> {
        let mut values = private::names(&self.values_dir())?.into_iter();
        match values.any(|path| path.extension().is_some_and(|extension| extension == "age")) {
            true => Err(StoreError::IndexMissing {
                path: self.index_path(),
            }),
            false => Ok(()),
        }
    }

    /// Returns the value of one version from the cache, or decrypts it.
    pub(super) fn value(
        &self,
        loaded: &Loaded,
        record: &Record,
    ) -> Result<SecretValue, StoreError> {
        let cached = self
            .values
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&record.file);
        if let Some(value) = cached {
            return Ok(value);
        }
        let value = self.decrypt_value(&loaded.identity, record)?;
        self.values
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(&record.file, &value);
        Ok(value)
    }

    fn decrypt_value(
        &self,
        identity: &Identity,
        record: &Record,
    ) -> Result<SecretValue, StoreError> {
        let path = self.value_path(&record.file);
        let missing = || StoreError::io("open", &path)(io::ErrorKind::NotFound.into());
        let sealed = private::load(&path, MAX_VALUE_FILE_LEN)?.ok_or_else(missing)?;
        open_value(identity, record, &path, &sealed)
    }
}

/// Decrypts the content of a value file, which must be the one that the index lists.
pub(super) fn open_value(
    identity: &Identity,
    record: &Record,
    path: &Path,
    sealed: &[u8],
) -> Result<SecretValue, StoreError> {
    if digest(sealed) != record.sha256 {
        return Err(StoreError::corrupt(
            path,
            "it is not the file that the index lists",
        ));
    }
    let mut content = identity.decrypt(path, sealed)?;
    if content.len() as u64 != record.len {
        return Err(StoreError::corrupt(
            path,
            "its length is not the one in the index",
        ));
    }
    Ok(SecretValue::new(std::mem::take(&mut *content)))
}

fn is_missing_file(error: &StoreError) -> bool {
    matches!(error, StoreError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

/// Returns the SHA-256 digest in hexadecimal.
pub(super) fn digest(content: &[u8]) -> String {
    use std::fmt::Write as _;

    Sha256::digest(content)
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            // Writing into a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}
