//! Writing: under the lock, value file first, index second, so that a crash at any moment leaves a readable store.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use age::x25519;
use keyway_secrets::{Id, SecretValue};

use super::identity::Identity;
use super::index::{Index, Record, is_random};
use super::lock::WriteLock;
use super::reader::{Loaded, digest};
use super::steps::{self, Step};
use super::{Store, cipher, private};
use crate::StoreError;

/// The store while we hold its lock.
struct Writing {
    loaded: Arc<Loaded>,
    recipients: Vec<x25519::Recipient>,
    _lock: WriteLock,
}

impl Store {
    pub(super) fn write_value(&self, id: &Id, value: &SecretValue) -> Result<Record, StoreError> {
        let writing = self.start_writing()?;
        let mut index = writing.loaded.index.clone();
        let version = index.current(id).map_or(1, |current| current.version + 1);
        let record = self.write_value_file(&writing.recipients, version, value)?;
        private::sync_dir(&self.values_dir())?;
        index.push(id, record.clone(), self.config.kept());
        self.finish_writing(&writing, &index)?;
        Ok(record)
    }

    pub(super) fn remove_secret(&self, id: &Id) -> Result<bool, StoreError> {
        // Nothing is made for a store that does not exist.
        if self.load()?.is_none() {
            return Ok(false);
        }
        let writing = self.start_writing()?;
        let mut index = writing.loaded.index.clone();
        if index.secrets.remove(id).is_none() {
            return Ok(false);
        }
        self.finish_writing(&writing, &index)?;
        Ok(true)
    }

    pub(super) fn reencrypt_all(&self) -> Result<usize, StoreError> {
        if self.load()?.is_none() {
            return Ok(0);
        }
        let writing = self.start_writing()?;
        let mut index = writing.loaded.index.clone();
        let mut count = 0;
        for record in index.secrets.values_mut().flatten() {
            let value = self.value(&writing.loaded, record)?;
            let again = self.write_value_file(&writing.recipients, record.version, &value)?;
            record.file = again.file;
            record.sha256 = again.sha256;
            count += 1;
        }
        private::sync_dir(&self.values_dir())?;
        self.finish_writing(&writing, &index)?;
        Ok(count)
    }

    /// Takes the lock and reads the index, which is made with the identity if there is none.
    fn start_writing(&self) -> Result<Writing, StoreError> {
        let dir = self.config.dir();
        private::make_dir(dir)?;
        let lock = WriteLock::acquire(&dir.join("store.lock"), self.config.wait())?;
        private::make_dir(&self.values_dir())?;
        let loaded = match self.load()? {
            Some(loaded) => loaded,
            None => self.initialise()?,
        };
        let recipients = loaded.identity.recipients(dir)?;
        Ok(Writing {
            loaded,
            recipients,
            _lock: lock,
        })
    }

    /// Makes the identity and an empty index. The index comes before any value, so that an index that is missing
    /// beside values is known to be lost.
    fn initialise(&self) -> Result<Arc<Loaded>, StoreError> {
        let identity = match Identity::load(&self.config)? {
            Some(identity) => identity,
            None => Identity::create(&self.config)?,
        };
        let recipients = identity.recipients(self.config.dir())?;
        let path = self.index_path();
        private::replace(
            &path,
            &cipher::encrypt(&recipients, &Index::default().to_text()),
        )?;
        self.load()?.ok_or(StoreError::IndexMissing { path })
    }

    fn write_value_file(
        &self,
        recipients: &[x25519::Recipient],
        version: u64,
        value: &SecretValue,
    ) -> Result<Record, StoreError> {
        let sealed = cipher::encrypt(recipients, value.expose());
        let file = private::random_name()?;
        private::create(&self.value_path(&file), &sealed)?;
        Ok(Record::new(version, value.len(), file, digest(&sealed)))
    }

    fn finish_writing(&self, writing: &Writing, index: &Index) -> Result<(), StoreError> {
        let sealed = cipher::encrypt(&writing.recipients, &index.to_text());
        private::replace(&self.index_path(), &sealed)?;
        self.sweep(index);
        Ok(())
    }

    /// Removes what no index names any more, and what writers left that died. The new state is durable before, so
    /// what cannot be removed now is left to the next writer.
    fn sweep(&self, index: &Index) {
        let in_use = index.files();
        let values = private::names(&self.values_dir()).unwrap_or_default();
        let surplus = values.iter().filter(|path| {
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            name.strip_suffix(".age")
                .is_some_and(|file| is_random(file) && !in_use.contains(file))
        });
        let beside = private::names(self.config.dir()).unwrap_or_default();
        let unfinished = beside.iter().filter(|path| is_unfinished(path));
        for path in surplus.chain(unfinished) {
            let _ = fs::remove_file(path);
            steps::reached(Step::Removed);
        }
    }
}

/// A temporary file of [`private::replace`].
fn is_unfinished(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    name.strip_prefix('.')
        .and_then(|name| name.strip_suffix(private::TEMPORARY))
        .is_some_and(is_random)
}
