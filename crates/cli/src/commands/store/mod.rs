//! `keyway store`: backups, the key and the passphrase of the file store.

mod backup;
mod passphrase;
mod rekey;
mod restore;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use keyway_plugin_file::{Protection, Store, StoreConfig};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::passphrase::{PassphraseOptions, Passphrases};
use crate::store::StoreOptions;

/// Options of `keyway store`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Write a copy of the store, still encrypted, to one file. A daemon may go on.
    Backup(backup::Options),
    /// Replace the store by a backup, which is checked in full before. The replaced store is kept. A daemon may go on.
    Restore(restore::Options),
    /// Encrypt everything to a new key, and forget the former one. A daemon may go on.
    Rekey(rekey::Options),
    /// Set, change or remove the passphrase that protects the key.
    Passphrase(passphrase::Options),
}

/// Runs the subcommand.
pub(crate) fn run(globals: &Globals, options: &Options) -> Result<Exit, Failure> {
    match &options.action {
        Action::Backup(options) => backup::run(globals, options),
        Action::Restore(options) => restore::run(globals, options),
        Action::Rekey(options) => rekey::run(globals, options),
        Action::Passphrase(options) => passphrase::run(globals, options),
    }
}

/// The options of every subcommand.
#[derive(Args, Debug)]
struct Target {
    #[command(flatten)]
    store: StoreOptions,
    #[command(flatten)]
    passphrases: PassphraseOptions,
}

/// A path of the command line. Messages have `placeholder` in its place, because an argument may be a secret.
struct Argument {
    path: PathBuf,
    placeholder: &'static str,
}

impl Argument {
    /// Makes the path absolute, so that it is found in messages as a whole.
    fn new(path: &Path, placeholder: &'static str) -> Result<Self, Failure> {
        let path = std::path::absolute(path).map_err(|error| {
            Failure::usage(
                format_args!("{placeholder} names no file: {error}"),
                "Give it a path",
            )
        })?;
        Ok(Self { path, placeholder })
    }

    fn hide(&self, failure: Failure) -> Failure {
        failure.with_text_replaced(&self.path.display().to_string(), self.placeholder)
    }
}

/// The name of a passphrase of the store in prompts.
const PASSPHRASE: &str = "passphrase of the store";

impl Target {
    fn protection(&self, config: &StoreConfig) -> Result<Protection, Failure> {
        let store = Store::new(config.clone());
        store
            .protection()
            .map_err(|error| self.store.failure(&error))
    }

    /// Returns the store as its identity is, whatever the environment says. The user enters a passphrase only if one is needed and none
    /// is configured.
    fn unlocked(&self, passphrases: &mut Passphrases) -> Result<Store, Failure> {
        let config = self.store.config()?;
        Ok(Store::new(match self.protection(&config)? {
            Protection::NoIdentity => config,
            Protection::Unprotected => config.without_passphrase(),
            Protection::Passphrase if config.has_passphrase() => config,
            Protection::Passphrase => config.passphrase(passphrases.read(PASSPHRASE)?),
        }))
    }
}
