//! Transaction under the lock: the value file first, the index second, so that a crash at any time leaves a readable store.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use age::x25519;
use keyway_secrets::{Id, SecretValue};

use super::identity::Identity;
use super::index::{Index, Record, is_random_name};
use super::lock::WriteLock;
use super::reader::{Loaded, digest};
use super::steps::{self, Step};
use super::{Store, cipher, private};
use crate::{Expected, StoreError};

/// A write in progress, which holds the lock.
pub(super) struct Transaction {
    pub(super) loaded: Arc<Loaded>,
    pub(super) recipients: Vec<x25519::Recipient>,
    _lock: WriteLock,
}

impl Store {
    pub(super) fn write_value(
        &self,
        id: &Id,
        value: &SecretValue,
        metadata: &BTreeMap<String, String>,
        expected: &Expected,
    ) -> Result<Record, StoreError> {
        let transaction = self.begin()?;
        transaction.loaded.index.expect(id, expected)?;
        self.append(&transaction, id, value, metadata)
    }

    pub(super) fn restore_version(&self, id: &Id, number: u64) -> Result<Record, StoreError> {
        let not_found = || StoreError::NotFound {
            id: id.clone(),
            version: Some(number),
        };
        // Does not create a store that does not exist.
        if self.load()?.is_none() {
            return Err(not_found());
        }
        let transaction = self.begin()?;
        let mut history = transaction.loaded.index.history(id);
        let earlier = history.find(|record| record.version == number);
        let earlier = earlier.ok_or_else(not_found)?;
        let value = self.value(&transaction.loaded, earlier)?;
        self.append(&transaction, id, &value, &earlier.metadata)
    }

    /// Writes a value and makes it the current version of a secret.
    fn append(
        &self,
        transaction: &Transaction,
        id: &Id,
        value: &SecretValue,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Record, StoreError> {
        let mut index = transaction.loaded.index.clone();
        let version = index.next_version(id);
        let mut record = self.write_value_file(&transaction.recipients, version, value)?;
        record.metadata.clone_from(metadata);
        private::sync_dir(&self.values_dir())?;
        index.push(id, record.clone());
        self.commit(transaction, index)?;
        Ok(record)
    }

    pub(super) fn remove_versions(
        &self,
        id: &Id,
        version: Option<u64>,
        expected: &Expected,
    ) -> Result<usize, StoreError> {
        let removal = |index: &mut Index| {
            index.expect(id, expected)?;
            Ok(index.remove(id, version))
        };
        self.change(removal)
    }

    pub(super) fn purge_versions(
        &self,
        id: &Id,
        version: Option<u64>,
    ) -> Result<usize, StoreError> {
        self.change(|index| Ok(index.purge(id, version)))
    }

    /// Changes the index, unless `change` returns that it changed nothing. Does not create a store that does not exist.
    fn change(
        &self,
        change: impl Fn(&mut Index) -> Result<usize, StoreError>,
    ) -> Result<usize, StoreError> {
        if self.load()?.is_none() {
            return change(&mut Index::default());
        }
        let transaction = self.begin()?;
        let mut index = transaction.loaded.index.clone();
        let count = change(&mut index)?;
        if count > 0 {
            self.commit(&transaction, index)?;
        }
        Ok(count)
    }

    pub(super) fn reencrypt_all(&self) -> Result<usize, StoreError> {
        if self.load()?.is_none() {
            return Ok(0);
        }
        self.reencrypt_in(&self.begin()?)
    }

    /// Encrypts everything again, to the recipients of the transaction.
    pub(super) fn reencrypt_in(&self, transaction: &Transaction) -> Result<usize, StoreError> {
        let mut index = transaction.loaded.index.clone();
        let mut count = 0;
        for record in index.records_mut() {
            let value = self.value(&transaction.loaded, record)?;
            let again = self.write_value_file(&transaction.recipients, record.version, &value)?;
            record.file = again.file;
            record.sha256 = again.sha256;
            count += 1;
        }
        private::sync_dir(&self.values_dir())?;
        self.commit(transaction, index)?;
        Ok(count)
    }

    /// Acquires the lock and loads the index. Creates index and identity if there are none.
    pub(super) fn begin(&self) -> Result<Transaction, StoreError> {
        let dir = self.config.dir();
        let lock = self.lock()?;
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

    /// Acquires the lock. Creates the directories if they do not exist.
    pub(super) fn lock(&self) -> Result<WriteLock, StoreError> {
        let dir = self.config.dir();
        private::create_dir(dir)?;
        let lock = WriteLock::acquire(&dir.join("store.lock"), self.config.lock_timeout())?;
        private::create_dir(&self.values_dir())?;
        Ok(lock)
    }

    /// Creates the identity and an empty index. The index is written before any value, so that values without an index
    /// prove its loss.
    fn initialize(&self) -> Result<Arc<Loaded>, StoreError> {
        let identity = match Identity::load(&self.config)? {
            Some(identity) => identity,
            None => {
                let identity = Identity::generate();
                identity.write(&self.config)?;
                identity
            }
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

    /// Writes the index, without the versions that exceed the retention, and then removes the files that it does not list.
    fn commit(&self, transaction: &Transaction, mut index: Index) -> Result<(), StoreError> {
        index.retain(self.retention());
        let sealed = cipher::encrypt(&transaction.recipients, &index.to_text());
        private::replace(&self.index_path(), &sealed)?;
        self.remove_unused(&index);
        Ok(())
    }

    /// Returns the names and the paths of all value files, in no order.
    pub(super) fn value_files(&self) -> Result<Vec<(String, PathBuf)>, StoreError> {
        let paths = private::names(&self.values_dir())?.into_iter();
        let named = paths.filter_map(|path| {
            let name = path.file_name()?.to_str()?.strip_suffix(".age")?.to_owned();
            is_random_name(&name).then_some((name, path))
        });
        Ok(named.collect())
    }

    /// Removes value files that the index does not list, and temporary files of crashed writers. The new state is already
    /// durable, so the next writer removes the files that cannot be removed now.
    pub(super) fn remove_unused(&self, index: &Index) {
        let in_use = index.files();
        let values = self.value_files().unwrap_or_default().into_iter();
        let unused = values.filter(|(file, _)| !in_use.contains(file.as_str()));
        let siblings = private::names(self.config.dir()).unwrap_or_default();
        let unfinished = siblings.into_iter().filter(|path| is_unfinished(path));
        for path in unused.map(|(_, path)| path).chain(unfinished) {
            let _ = match path.is_dir() {
                true => fs::remove_dir_all(&path),
                false => fs::remove_file(&path),
            };
            steps::reached(Step::Removed);
        }
    }
}

/// Returns `true` for a temporary name of [`private::temporary_name`].
fn is_unfinished(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    name.strip_prefix('.')
        .and_then(|name| name.strip_suffix(private::TEMPORARY))
        .is_some_and(is_random_name)
}
