//! The file store as the destination of values.

use keyway_plugin_file::Store;
use keyway_secrets::{Id, SecretValue};

use super::plan::Vault;
use crate::failure::Failure;
use crate::store::StoreOptions;

/// The file store.
pub(super) struct FileStore<'a> {
    options: &'a StoreOptions,
    store: Store,
}

impl<'a> FileStore<'a> {
    /// Returns a handle on the store. Opens no file.
    pub(super) fn new(options: &'a StoreOptions) -> Result<Self, Failure> {
        Ok(Self {
            options,
            store: options.open()?,
        })
    }
}

impl Vault for FileStore<'_> {
    fn current(&self, id: &Id) -> Result<Option<SecretValue>, Failure> {
        let found = self
            .store
            .get(&id.into())
            .map_err(|error| self.options.failure(&error))?;
        Ok(found.into_iter().next().map(|envelope| envelope.value))
    }

    fn store(&self, id: &Id, value: &SecretValue) -> Result<(), Failure> {
        let stored = self.store.set(id, value);
        stored
            .map(|_| ())
            .map_err(|error| self.options.failure(&error))
    }
}
