//! `keyway store passphrase`.

use clap::Args;
use keyway_plugin_file::{PASSPHRASE_FILE_VARIABLE, Protection};
use serde::Serialize;

use super::{PASSPHRASE, Target};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::output::{self, json};
use crate::passphrase::Passphrases;

/// Options of `keyway store passphrase`.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// Remove the passphrase.
    #[arg(long)]
    remove: bool,
    #[command(flatten)]
    target: Target,
}

/// The output of `--json`.
#[derive(Debug, Serialize)]
struct Report {
    protected: bool,
}

/// Sets, changes or removes the passphrase.
pub(super) fn run(globals: &Globals, options: &Options) -> Result<Exit, Failure> {
    let target = &options.target;
    let mut passphrases = Passphrases::open(globals, &target.passphrases)?;
    let config = target.store.config()?;
    let before = target.protection(&config)?;
    let is_read_from = config
        .passphrase_path()
        .map(|path| target.store.display(path));
    let store = match before {
        // A store that does not exist yet has no passphrase to open it with.
        Protection::NoIdentity => keyway_plugin_file::Store::new(config.without_passphrase()),
        _ => target.unlocked(&mut passphrases)?,
    };
    // Before the new one is entered for nothing.
    let opened = store.list(&keyway_secrets::Pattern::everything());
    opened.map_err(|error| target.store.failure(&error))?;
    let new = match options.remove {
        true => None,
        false => Some(passphrases.read_new(&format!("new {PASSPHRASE}"))?),
    };
    let changed = store.set_passphrase(new.as_ref());
    changed.map_err(|error| target.store.failure(&error))?;
    advise(options.remove, before, is_read_from.as_deref());
    if globals.json {
        return output::print_text(json::line(&Report {
            protected: !options.remove,
        }));
    }
    output::print_text(match (options.remove, before) {
        (true, Protection::Passphrase) => "the passphrase was removed\n",
        (true, _) => "the key has no passphrase\n",
        (false, Protection::Passphrase) => "the passphrase was changed\n",
        (false, _) => "the key is protected by a passphrase\n",
    })
}

/// Prints notes about the passphrase for the programs that open the store.
fn advise(is_removed: bool, before: Protection, is_read_from: Option<&str>) {
    match (is_removed, is_read_from) {
        (true, Some(_)) => output::note(format_args!(
            "{PASSPHRASE_FILE_VARIABLE} is still set: unset it, also in `env` of [plugins.file], because the store does not open with it"
        )),
        (true, None) => {}
        (false, Some(path)) => output::note(format_args!(
            "write the passphrase to the first line of {path}, which {PASSPHRASE_FILE_VARIABLE} names"
        )),
        (false, None) => output::note(format_args!(
            "the daemon opens the store only with {PASSPHRASE_FILE_VARIABLE}, the path of a file with the passphrase, in `env` of \
             [plugins.file]; run `keyway plugins reload` after that"
        )),
    }
    if !is_removed && before == Protection::Unprotected {
        output::note(
            "the key was on this disk without a passphrase, and may be in backups and snapshots: `keyway store rekey` makes a new one",
        );
    }
}
