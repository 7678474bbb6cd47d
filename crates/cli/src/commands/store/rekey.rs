//! `keyway store rekey`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::{Argument, Target};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::output::{self, json};
use crate::passphrase::Passphrases;

/// Options of `keyway store rekey`.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// Copy the former key to this file, which must not exist; former backups open with it.
    #[arg(long, value_name = "FILE")]
    keep_old: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

/// The output of `--json`.
#[derive(Debug, Serialize)]
struct Report {
    versions: usize,
}

/// Creates the key, and encrypts everything to it.
pub(super) fn run(globals: &Globals, options: &Options) -> Result<Exit, Failure> {
    let target = &options.target;
    let mut passphrases = Passphrases::open(globals, &target.passphrases)?;
    let store = target.unlocked(&mut passphrases)?;
    let keep_old = options.keep_old.as_deref();
    let keep_old = keep_old
        .map(|path| Argument::new(path, "the file of --keep-old"))
        .transpose()?;
    let versions = store.rekey(keep_old.as_ref().map(|file| file.path.as_path()));
    let versions = versions.map_err(|error| {
        let failure = target.store.failure(&error);
        match &keep_old {
            Some(file) => file.hide(failure),
            None => failure,
        }
    })?;
    output::note(match options.keep_old {
        Some(_) => {
            "backups made before open with the former key, which is in the file of --keep-old"
        }
        None => {
            "backups made before without the key open with the former one only, which is not in the store any more"
        }
    });
    if globals.json {
        return output::print_text(json::line(&Report { versions }));
    }
    output::print_text(format_args!(
        "encrypted {} to a new key\n",
        output::count(versions, "version")
    ))
}
