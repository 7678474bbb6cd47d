//! Imports into a real store, and what happens to the files.

mod crashes;
mod files;
mod ids;
mod memory;
mod round_trip;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use keyway_plugin_file::Expected;
use keyway_secrets::{Id, SecretValue};

use super::apply::{Applied, apply};
use super::batch::{Batch, Rules};
use super::formats::Format;
use super::plan::{Choice, Stored, Vault};
use crate::failure::Failure;

/// A store in memory.
#[derive(Default)]
struct MemoryVault(RefCell<BTreeMap<Id, SecretValue>>);

impl MemoryVault {
    fn with(secrets: &[(&str, &str)]) -> Self {
        let secrets = secrets
            .iter()
            .map(|(id, value)| (id.parse().unwrap(), (*value).into()));
        Self(RefCell::new(secrets.collect()))
    }

    fn value(&self, id: &str) -> Option<String> {
        let value = self.current(&id.parse().unwrap()).unwrap()?;
        Some(String::from_utf8_lossy(value.expose()).into_owned())
    }
}

impl Vault for MemoryVault {
    fn current(&self, id: &Id) -> Result<Option<SecretValue>, Failure> {
        Ok(self.0.borrow().get(id).cloned())
    }

    fn store(&self, id: &Id, value: &SecretValue, expected: &Expected) -> Result<(), Failure> {
        assert!(*expected == Expected::Any || self.current(id)?.is_none());
        self.0.borrow_mut().insert(id.clone(), value.clone());
        Ok(())
    }
}

/// A directory with files.
struct Project(tempfile::TempDir);

impl Project {
    /// A project `shop` with a file `.env`.
    fn new(env: &str) -> Self {
        let project = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(project.path("shop/.git")).unwrap();
        project.write("shop/.env", env);
        project
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    fn write(&self, below: &str, text: &str) {
        fs::write(self.path(below), text).unwrap();
    }

    fn env(&self) -> String {
        fs::read_to_string(self.path("shop/.env")).unwrap()
    }

    fn batch(&self, vault: &impl Vault) -> Batch {
        read(&[self.path("shop/.env")], vault)
    }
}

fn read(paths: &[PathBuf], vault: &impl Vault) -> Batch {
    let rules = Rules {
        format: None,
        prefix: None,
        breaks_hard_links: false,
    };
    Batch::read(paths, &rules, vault).unwrap()
}

/// Moves what can be moved out of the only file.
fn apply_only(batch: &Batch, vault: &impl Vault) -> Result<Applied, Failure> {
    let [file] = batch.files.as_slice() else {
        panic!("{} files", batch.files.len());
    };
    apply(&file.source, &file.plan, vault, false)
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
