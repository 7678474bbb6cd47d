//! `keyway rm`: removes a secret from the file store.

use clap::Args;
use keyway_secrets::Id;
use serde::Serialize;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::names;
use crate::output::{self, json};
use crate::store::StoreOptions;

/// Options of `keyway rm`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The secret's id, such as `web/token`.
    #[arg(value_parser = names::id)]
    id: Id,
    #[command(flatten)]
    store: StoreOptions,
}

/// The output of `--json`.
#[derive(Debug, Serialize)]
struct Removed<'a> {
    removed: &'a str,
}

/// Removes all versions of the secret.
pub(crate) fn run(globals: &Globals, options: &Options) -> Result<Exit, Failure> {
    let store = options.store.open()?;
    let removed = store
        .remove(&options.id)
        .map_err(|error| options.store.failure(&error))?;
    let (id, dir) = (&options.id, options.store.display_dir(&store));
    if !removed {
        return Err(Failure::new(
            Exit::NotFound,
            format_args!("there is no secret {id} in the file store {dir}"),
            "Run `keyway ls` to see what there is and which provider has it; only the file store's secrets can be removed here",
        ));
    }
    if globals.json {
        let removed = id.as_str();
        return output::print_text(json::line(&Removed { removed }));
    }
    output::print_text(format_args!("removed {id} from {dir}\n"))
}
