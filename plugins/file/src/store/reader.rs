//! Reading: notice that the index changed, load it, decrypt values.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use keyway_secrets::{Id, Pattern, SecretValue};
use sha2::{Digest, Sha256};

use super::identity::Identity;
use super::index::{Index, Record};
use super::{MAX_VALUE_LEN, Store, private};
use crate::{StoreConfig, StoreError};

/// The largest index that is read: some hundred thousand versions.
const MAX_INDEX_LEN: u64 = 128 * 1024 * 1024;
/// age adds a header of some hundred bytes for each recipient, and 16 bytes for each 64 KiB.
const MAX_VALUE_FILE_LEN: u64 = MAX_VALUE_LEN as u64 + 1024 * 1024;
/// How often a reader starts again when writers keep replacing what it is about to read.
const MAX_RESTARTS: usize = 100;

/// An index that was read, and the key that opened it.
pub(super) struct Loaded {
    pub(super) index: Index,
    pub(super) identity: Arc<Identity>,
    identity_stamp: Stamp,
    stamp: Stamp,
    /// Kept open so that its inode number cannot be given to another file: an equal stamp is the same file.
    _file: File,
}

/// Tells one state of a file from another.
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

    /// The state of the file at `path` now; `None` when there is none.
    fn at(path: &Path) -> Result<Option<Self>, StoreError> {
        match std::fs::metadata(path) {
            Ok(metadata) => Ok(Some(Self::of(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("examine", path)(error)),
        }
    }
}

impl Loaded {
    /// Secrets that match, with their current versions, in the order of ids.
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

    /// Whether the identity file is still the one that this was read with.
    fn has_current_identity(&self, config: &StoreConfig) -> Result<bool, StoreError> {
        Ok(Stamp::at(&config.identity_path())? == Some(self.identity_stamp))
    }
}

impl Store {
    /// Runs `read` on the current index, again if a writer replaced it meanwhile; `None` for a store that was never
    /// written to.
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
                // A writer may have replaced the index, and removed a value file that the old one names, after we read
                // the old one. Only when the index is still the same is a missing file a damage.
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

    /// The index as it is now, read again only if its file changed; `None` for a store that was never written to.
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

    /// What was loaded before, if the files are still the same.
    pub(super) fn current_if_loaded(&self) -> Result<Option<Arc<Loaded>>, StoreError> {
        let loaded = self
            .loaded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Some(loaded) = loaded else {
            return Ok(None);
        };
        let same = Stamp::at(&self.index_path())? == Some(loaded.stamp)
            && loaded.has_current_identity(&self.config)?;
        Ok(same.then_some(loaded))
    }

    fn read_index(&self, previous: Option<&Loaded>) -> Result<Option<Loaded>, StoreError> {
        if !private::check_dir(self.config.dir())? {
            return Ok(None);
        }
        let path = self.index_path();
        let Some((file, metadata)) = private::open(&path)? else {
            return self.explain_missing_index().map(|()| None);
        };
        let (identity, identity_stamp) = self.read_identity(previous)?;
        let sealed = private::read(&path, &file, &metadata, MAX_INDEX_LEN)?;
        let index = Index::parse(&path, &identity.open(&path, &sealed)?)?;
        Ok(Some(Loaded {
            index,
            identity,
            identity_stamp,
            stamp: Stamp::of(&metadata),
            _file: file,
        }))
    }

    /// The identity; the one that was read before if its file is still the same, because opening one that is
    /// protected by a passphrase takes a second.
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
            None => Err(StoreError::IdentityMissing {
                dir: self.config.dir().to_owned(),
                path,
            }),
        }
    }

    /// Without an index a store is empty only if it holds no values either: the index comes before the first value.
    pub(super) fn explain_missing_index(&self) -> Result<(), StoreError> {
        let mut values = private::names(&self.values_dir())?.into_iter();
        match values.any(|path| path.extension().is_some_and(|ending| ending == "age")) {
            true => Err(StoreError::IndexMissing {
                path: self.index_path(),
            }),
            false => Ok(()),
        }
    }

    /// Decrypts the value of one version, or takes it from the cache.
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
        let Some((file, metadata)) = private::open(&path)? else {
            return Err(StoreError::io("open", &path)(
                io::ErrorKind::NotFound.into(),
            ));
        };
        let sealed = private::read(&path, &file, &metadata, MAX_VALUE_FILE_LEN)?;
        if digest(&sealed) != record.sha256 {
            return Err(StoreError::corrupt(
                &path,
                "it is not the file that the index names",
            ));
        }
        let mut content = identity.open(&path, &sealed)?;
        if content.len() as u64 != record.len {
            return Err(StoreError::corrupt(
                &path,
                "its length is not the one in the index",
            ));
        }
        Ok(SecretValue::new(std::mem::take(&mut *content)))
    }
}

fn is_missing_file(error: &StoreError) -> bool {
    matches!(error, StoreError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

/// SHA-256 in hexadecimal.
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
