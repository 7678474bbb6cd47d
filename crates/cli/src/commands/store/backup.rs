//! `keyway store backup`.

use std::path::PathBuf;

use clap::Args;
use keyway_plugin_file::{Protection, Store, StoreError};
use serde::Serialize;

use super::{Argument, Target};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::output::{self, json};
use crate::passphrase::Passphrases;

/// Options of `keyway store backup`.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// The file to write.
    file: PathBuf,
    /// Replace the file if it exists.
    #[arg(long)]
    force: bool,
    /// Put the key into the backup, protected by a passphrase of its own. A key that is protected already is in every backup.
    #[arg(long)]
    with_identity: bool,
    #[command(flatten)]
    target: Target,
}

/// The output of `--json`.
#[derive(Debug, Serialize)]
struct Report {
    versions: usize,
    bytes: u64,
    identity: bool,
}

/// Writes the backup.
pub(super) fn run(globals: &Globals, options: &Options) -> Result<Exit, Failure> {
    let target = &options.target;
    let config = target.store.config()?;
    let protection = target.protection(&config)?;
    let (config, passphrase) = match protection {
        Protection::Unprotected if options.with_identity => {
            let mut passphrases = Passphrases::open(globals, &target.passphrases)?;
            let passphrase = passphrases.read_new("passphrase of the backup")?;
            (config.without_passphrase(), Some(passphrase))
        }
        _ => (config, None),
    };
    let file = Argument::new(&options.file, "FILE")?;
    let store = Store::new(config);
    let written = store.back_up(&file.path, options.force, passphrase.as_ref());
    let report = written.map_err(|error| {
        let failure = target.store.failure(&error);
        let failure = match error {
            StoreError::Exists { .. } => Failure::error(
                failure.what(),
                "Nothing was written; choose another name, or replace the file with --force",
            ),
            _ => failure,
        };
        file.hide(failure)
    })?;
    output::note(match (report.has_identity, protection) {
        (true, Protection::Passphrase) => {
            "the backup holds the key, which the passphrase of the store opens: nothing else is needed to restore it elsewhere".to_owned()
        }
        (true, _) => "the backup holds the key, which the passphrase of the backup opens: nothing else is needed to restore it elsewhere".to_owned(),
        (false, _) => format!(
            "the backup does not hold the key, because it has no passphrase: keep a copy of {} elsewhere, without which nothing can be \
             restored, or use --with-identity",
            target.store.display(&store.config().identity_path())
        ),
    });
    if globals.json {
        return output::print_text(json::line(&Report {
            versions: report.n_values,
            bytes: report.len,
            identity: report.has_identity,
        }));
    }
    output::print_text(format_args!(
        "backed up {} in {}\n",
        output::count(report.n_values, "version"),
        output::count(usize::try_from(report.len).unwrap_or(usize::MAX), "byte"),
    ))
}
