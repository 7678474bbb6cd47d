//! `keyway versions`: lists the stored versions of a secret.

use std::collections::BTreeMap;
use std::time::SystemTime;

use clap::Args;
use keyway_resolver::StoredVersion;
use keyway_secrets::Id;
use serde::Serialize;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::names;
use crate::output::{self, Table, json, rfc3339};
use crate::store::{Destination, History, StoreOptions, Writer};

/// Options of `keyway versions`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The secret's id, such as `web/token`.
    #[arg(value_parser = names::id)]
    id: Id,
    /// The provider that has it [default: where `keyway set` stores].
    #[arg(long, value_name = "PROVIDER", value_parser = names::provider, conflicts_with = "store")]
    from: Option<String>,
    #[command(flatten)]
    store: StoreOptions,
}

/// The output of `--json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    id: &'a str,
    provider: &'a str,
    versions: Vec<Row<'a>>,
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    version: &'a str,
    state: &'static str,
    created_at: Option<String>,
    removed_at: Option<String>,
    metadata: &'a BTreeMap<String, String>,
}

/// Prints the versions, newest first.
pub(crate) fn run(globals: &Globals, options: &Options) -> Result<Exit, Failure> {
    let destination = Destination {
        store: &options.store,
        provider: options.from.as_deref(),
        force: false,
    };
    let history = Writer::open(globals, destination)?.versions(&options.id)?;
    if globals.json {
        return output::print_text(json::line(&Report {
            id: options.id.as_str(),
            provider: &history.provider,
            versions: rows(&history),
        }));
    }
    let mut table = Table::new(["VERSION", "STORED", "STATE"]);
    for row in rows(&history) {
        let created_at = row.created_at.unwrap_or_default();
        let state = match row.removed_at {
            Some(removed_at) => format!("removed {removed_at}"),
            None => row.state.to_owned(),
        };
        table.push([row.version, &created_at, &state]);
    }
    output::print_text(table)
}

/// The first version that was not removed is the current one.
fn rows(history: &History) -> Vec<Row<'_>> {
    let is_kept = |version: &StoredVersion| version.removed_at.is_none();
    let current = history.versions.iter().position(is_kept);
    let time = |time: Option<SystemTime>| time.map(rfc3339);
    let versions = history.versions.iter().enumerate();
    let rows = versions.map(|(index, version)| Row {
        version: &version.version,
        state: match version.removed_at {
            Some(_) => "removed",
            None if Some(index) == current => "current",
            None => "earlier",
        },
        created_at: time(version.created_at),
        removed_at: time(version.removed_at),
        metadata: &version.metadata,
    });
    rows.collect()
}
