//! Tests of the store against a real directory.

mod backups;
mod contents;
mod corruption;
mod crashes;
mod history;
mod identities;
mod keys;
mod permissions;
mod writers;

use std::path::PathBuf;

use keyway_secrets::{Id, SecretValue};
use tempfile::TempDir;

use super::cipher;
use super::identity::Identity;
use crate::{Store, StoreConfig, StoreError};

/// A store in a temporary directory.
struct Fixture {
    root: TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
        }
    }

    fn dir(&self) -> PathBuf {
        self.root.path().join("store")
    }

    fn config(&self) -> StoreConfig {
        StoreConfig::new(self.dir())
    }

    /// Returns a new handle, equivalent to that of another process.
    fn store(&self) -> Store {
        Store::new(self.config())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// Returns the value files in no order.
    fn value_files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.path("values")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

fn id(text: &str) -> Id {
    text.parse().unwrap()
}

fn set(store: &Store, name: &str, value: &str) {
    store.set(&id(name), &value.into()).unwrap();
}

/// Returns the result of `get` as pairs of text.
fn get(store: &Store, pattern: &str) -> Result<Vec<(String, String)>, StoreError> {
    let text = |value: &SecretValue| String::from_utf8(value.expose().to_vec()).unwrap();
    let envelopes = store.get(&pattern.parse().unwrap())?;
    Ok(envelopes
        .iter()
        .map(|envelope| (envelope.id.to_string(), text(&envelope.value)))
        .collect())
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(id, value)| ((*id).to_owned(), (*value).to_owned()))
        .collect()
}

/// The error and its remedy, as users read them.
fn message(error: &StoreError) -> String {
    match error.remedy() {
        Some(remedy) => format!("{error}; {remedy}"),
        None => error.to_string(),
    }
}

/// Replaces the store's index by one with this content.
fn overwrite_index(fixture: &Fixture, text: &[u8]) {
    let identity = Identity::load(&fixture.config()).unwrap().unwrap();
    let recipients = identity.recipients(&fixture.dir()).unwrap();
    std::fs::write(
        fixture.path("index.age"),
        cipher::encrypt(&recipients, text),
    )
    .unwrap();
}
