//! The store as the destination of values: through the daemon if one runs, else the file store.

use std::cell::RefCell;

use keyway_plugin_file::Expected;
use keyway_secrets::{Id, SecretValue};

use super::plan::Vault;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::store::{Destination, StoreOptions, Writer};

/// Where the commands of Keyway write and read.
pub(super) struct StoreVault<'a>(RefCell<Writer<'a>>);

impl<'a> StoreVault<'a> {
    /// Prepares reads and writes. Neither connects nor opens a file.
    ///
    /// # Errors
    ///
    /// Returns a [`Failure`] if the location of the file store is not known.
    pub(super) fn new(globals: &'a Globals, store: &'a StoreOptions) -> Result<Self, Failure> {
        let destination = Destination {
            store,
            provider: None,
            force: false,
        };
        Ok(Self(RefCell::new(Writer::open(globals, destination)?)))
    }
}

impl Vault for StoreVault<'_> {
    fn current(&self, id: &Id) -> Result<Option<SecretValue>, Failure> {
        match self.0.borrow().read(id) {
            Ok(envelope) => Ok(Some(envelope.value)),
            Err(failure) if failure.exit() == Exit::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    fn store(&self, id: &Id, value: &SecretValue, expected: &Expected) -> Result<(), Failure> {
        self.0.borrow_mut().set(id, value, expected)?;
        Ok(())
    }
}
