//! The file store that the command line and the environment name.

use std::env;
use std::path::{Path, PathBuf};

use clap::Args;
use keyway_plugin_file::{STORE_VARIABLE, Store, StoreConfig, StoreError};

use crate::failure::Failure;

/// Where the file store is.
#[derive(Args, Debug)]
pub(crate) struct StoreOptions {
    /// The directory of the store [default: $KEYWAY_FILE_STORE, else `keyway` in $XDG_DATA_HOME].
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

impl StoreOptions {
    /// A handle on the store, which touches nothing yet.
    pub(crate) fn open(&self) -> Result<Store, Failure> {
        let given = self.store.as_deref().map(absolute).transpose()?;
        let lookup = |name: &str| match &given {
            Some(directory) if name == STORE_VARIABLE => Some(directory.into()),
            _ => env::var_os(name),
        };
        let config = StoreConfig::from_env(lookup).map_err(|error| self.failure(&error))?;
        Ok(Store::new(config))
    }

    /// The directory of the store for the user. What the command line says is not repeated.
    pub(crate) fn shown(&self, store: &Store) -> String {
        match self.store {
            Some(_) => SHOWN.to_owned(),
            None => store.dir().display().to_string(),
        }
    }

    /// What a store said. What the command line says is not repeated.
    pub(crate) fn failure(&self, error: &StoreError) -> Failure {
        let given = self.store.as_deref().and_then(|dir| absolute(dir).ok());
        sentences(error, |text| match &given {
            Some(dir) => text.replace(&dir.display().to_string(), SHOWN),
            None => text.to_owned(),
        })
    }
}

/// Stands for a directory that was given with `--store`, as in the help of that option.
const SHOWN: &str = "DIR";

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| {
        Failure::usage(
            format_args!("--store names no directory: {error}"),
            "Give it a path",
        )
    })
}

/// What a store said, as our two sentences: its messages put what to do behind the last semicolon. `show` changes what is shown
/// of it.
fn sentences(error: &StoreError, show: impl Fn(&str) -> String) -> Failure {
    if let StoreError::NoLocation = error {
        return Failure::error(
            "nothing says where the file store is",
            "Set KEYWAY_FILE_STORE, XDG_DATA_HOME or HOME to an absolute path, or give --store",
        );
    }
    let text = show(&error.to_string());
    match text.rsplit_once("; ") {
        Some((what, advice)) => Failure::error(what, capitalised(advice)),
        None => Failure::error(text, advice(error)),
    }
}

/// What to do about an error whose message does not say it.
fn advice(error: &StoreError) -> &'static str {
    match error {
        StoreError::Io { .. } => {
            "See whether the directory may be used and whether its disk has room, or name another one with --store"
        }
        _ => "Repair what it names, or name another store with --store",
    }
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(characters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_store_advises_becomes_a_sentence() {
        let error = StoreError::IndexMissing {
            path: "/s/index.age".into(),
        };
        assert_eq!(
            sentences(&error, str::to_owned).to_string(),
            "keyway: /s/index.age is missing, although there are values beside it.\nRestore it from a backup.\n"
        );
    }
}
