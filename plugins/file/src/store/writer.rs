//! Transaction under the lock: the value file first, the index second, so that a crash at any time leaves a readable store.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use age::x25519;
use keyway_secrets::{Id, SecretValue};

use super::identity::Identity;
use super::index::{Index, Record, is_random_name};
use super::lock::WriteLock;
use super::reader::{Loaded, digest};
use super::steps::{self, Step};
use super::{Store, cipher, private};
use crate::StoreError;

/// A write in progress, which holds the lock.
struct Transaction {
    loaded: Arc<Loaded>,
    recipients: Vec<x25519::Recipient>,
    _lock: WriteLock,
}

impl Store {
    pub(super) fn write_value(&self, id: &Id, value: &SecretValue) -> Result<Record, StoreError> {
        let transaction = self.begin()?;
        let mut index = transaction.loaded.index.clone();
        let version = index.current(id).map_or(1, |current| current.version + 1);
        let record = self.write_value_file(&transaction.recipients, version, value)?;
        private::sync_dir(&self.values_dir())?;
        index.push(id, record.clone(), self.config.max_versions());
        self.commit(&transaction, &index)?;
        Ok(record)
    }

    pub(super) fn remove_secret(&self, id: &Id) -> Result<bool, StoreError> {
        // Does not create a store that does not exist.
        if self.load()?.is_none() {
            return Ok(false);
        }
        let transaction = self.begin()?;
        let mut index = transaction.loaded.index.clone();
        if index.secrets.remove(id).is_none() {
            return Ok(false);
        }
        self.commit(&transaction, &index)?;
        Ok(true)
    }

    pub(super) fn reencrypt_all(&self) -> Result<usize, StoreError> {
        if self.load()?.is_none() {
            return Ok(0);
        }
        let transaction = self.begin()?;
        let mut index = transaction.loaded.index.clone();
        let mut count = 0;
        for record in index.secrets.values_mut().flatten() {
            let value = self.value(&transaction.loaded, record)?;
            let again = self.write_value_file(&transaction.recipients, record.version, &value)?;
            record.file = again.file;
            record.sha256 = again.sha256;
            count += 1;
        }
        private::sync_dir(&self.values_dir())?;
        self.commit(&transaction, &index)?;
        Ok(count)
    }

    /// Acquires the lock and loads the index. Creates index and identity if there are none.
    fn begin(&self) -> Result<Transaction, StoreError> {
        let dir = self.config.dir();
        private::create_dir(dir)?;
        let lock = WriteLock::acquire(&dir.join("store.lock"), self.config.lock_timeout())?;
        private::create_dir(&self.values_dir())?;
        let loaded = match self.load()? {
            Some(loaded) => loaded,
            None => self.initialize()?,
        };
        let recipients = loaded.identity.recipients(dir)?;
        Ok(Transaction {
            loaded,
            recipients,
            _lock: lock,
        })
    }

    /// Creates the identity and an empty index. The index is written before any value, so that values without an index
    /// prove its loss.
    fn initialize(&self) -> Result<Arc<Loaded>, StoreError> {
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

    fn commit(&self, transaction: &Transaction, index: &Index) -> Result<(), StoreError> {
        let sealed = cipher::encrypt(&transaction.recipients, &index.to_text());
        private::replace(&self.index_path(), &sealed)?;
        self.remove_unused(index);
        Ok(())
    }

    /// Removes value files that the index does not list, and temporary files of crashed writers. The new state is already
    /// durable, so the next writer removes what cannot be removed now.
    fn remove_unused(&self, index: &Index) {
        let in_use = index.files();
        let values = private::names(&self.values_dir()).unwrap_or_default();
        let unused = values.iter().filter(|path| {
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            name.strip_suffix(".age")
                .is_some_and(|file| is_random_name(file) && !in_use.contains(file))
        });
        let siblings = private::names(self.config.dir()).unwrap_or_default();
        let unfinished = siblings.iter().filter(|path| is_unfinished(path));
        for path in unused.chain(unfinished) {
            let _ = fs::remove_file(path);
            steps::reached(Step::Removed);
        }
    }
}

/// Returns `true` for a temporary file of [`private::replace`].
fn is_unfinished(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    name.strip_prefix('.')
        .and_then(|name| name.strip_suffix(private::TEMPORARY))
        .is_some_and(is_random_name)
}
