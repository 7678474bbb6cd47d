//! The file store of the command line and the environment.

use std::env;
use std::path::{Path, PathBuf};

use clap::Args;
use keyway_local::with_causes;
use keyway_plugin_file::{STORE_VARIABLE, Store, StoreConfig, StoreError};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;

/// The options that name the file store.
#[derive(Args, Debug, Default)]
pub(crate) struct StoreOptions {
    /// The directory of a file store, which is changed directly and not through the daemon
    /// [without a daemon: $KEYWAY_FILE_STORE, else `keyway` in $XDG_DATA_HOME].
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

impl StoreOptions {
    /// Returns a handle on the store. Opens no file.
    pub(crate) fn open(&self) -> Result<Store, Failure> {
        self.config().map(Store::new)
    }

    /// Returns the configuration of the store.
    pub(crate) fn config(&self) -> Result<StoreConfig, Failure> {
        let given = self.store.as_deref().map(absolute).transpose()?;
        let lookup = |name: &str| match &given {
            Some(directory) if name == STORE_VARIABLE => Some(directory.into()),
            _ => env::var_os(name),
        };
        StoreConfig::from_env(lookup).map_err(|error| self.failure(&error))
    }

    /// Whether a directory was given.
    pub(crate) fn is_given(&self) -> bool {
        self.store.is_some()
    }

    /// Returns the directory of the store for the user. An argument is not repeated, because it may be a secret.
    pub(crate) fn display_dir(&self, store: &Store) -> String {
        self.display(store.dir())
    }

    /// Returns a path in the store for the user, without the argument.
    pub(crate) fn display(&self, path: &Path) -> String {
        self.without_argument(&path.display().to_string())
    }

    /// Converts an error of the store. An argument is not repeated, because it may be a secret.
    pub(crate) fn failure(&self, error: &StoreError) -> Failure {
        to_failure(error, |text| self.without_argument(text))
    }

    fn without_argument(&self, text: &str) -> String {
        match self.store.as_deref().and_then(|dir| absolute(dir).ok()) {
            Some(dir) => text.replace(&dir.display().to_string(), STORE_PLACEHOLDER),
            None => text.to_owned(),
        }
    }
}

/// Replaces the argument of `--store` in messages, as in the help of that option.
const STORE_PLACEHOLDER: &str = "DIR";

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| {
        Failure::usage(
            format_args!("--store names no directory: {error}"),
            "Give it a path",
        )
    })
}

/// Converts an error of the store into two sentences. `redact` removes arguments from them.
fn to_failure(error: &StoreError, redact: impl Fn(&str) -> String) -> Failure {
    let advice = match error {
        StoreError::NoLocation => {
            "Set KEYWAY_FILE_STORE, XDG_DATA_HOME or HOME to an absolute path, or give --store".to_owned()
        }
        error => error.remedy().map_or_else(
            || {
                "See whether the directory may be used and whether its disk has space, or name another one with --store"
                    .to_owned()
            },
            |remedy| output::capitalize(&remedy),
        ),
    };
    let exit = match error.is_locked() {
        true => Exit::NeedsUser,
        false => Exit::Error,
    };
    Failure::new(exit, redact(&with_causes(error)), redact(&advice))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_of_the_store_becomes_the_second_sentence() {
        let error = StoreError::IndexMissing {
            path: "/s/index.age".into(),
        };
        assert_eq!(
            to_failure(&error, str::to_owned).to_string(),
            "keyway: /s/index.age is missing, although there are values beside it.\nRestore it from a backup.\n"
        );
    }
}
