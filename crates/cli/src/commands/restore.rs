//! `keyway restore`: makes the value of an earlier version the current one.

use clap::Args;
use keyway_secrets::Id;
use serde::Serialize;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::names;
use crate::output::{self, json};
use crate::store::{Destination, StoreOptions, Writer};

/// Options of `keyway restore`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The secret's id, such as `web/token`.
    #[arg(value_parser = names::id)]
    id: Id,
    /// The version, as `keyway versions` lists it; a removed one too.
    version: String,
    /// The provider that has it [default: where `keyway set` stores].
    #[arg(long, value_name = "PROVIDER", value_parser = names::provider, conflicts_with = "store")]
    from: Option<String>,
    /// Restore it although another provider's value would be returned instead.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    store: StoreOptions,
}

/// The output of `--json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    id: &'a str,
    version: &'a str,
    restored: &'a str,
    provider: &'a str,
}

/// Restores the version.
pub(crate) fn run(globals: &Globals, options: &Options) -> Result<Exit, Failure> {
    let destination = Destination {
        store: &options.store,
        provider: options.from.as_deref(),
        force: options.force,
    };
    let (id, restored) = (&options.id, &options.version);
    let written = Writer::open(globals, destination)?.restore(id, restored)?;
    if globals.json {
        return output::print_text(json::line(&Report {
            id: id.as_str(),
            version: &written.version,
            restored,
            provider: &written.provider,
        }));
    }
    output::print_text(format_args!(
        "restored {id} in {}: version {} has the value of an earlier one\n",
        written.place, written.version
    ))
}
