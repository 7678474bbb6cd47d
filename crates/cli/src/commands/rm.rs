//! `keyway rm`: removes secrets.

use clap::Args;
use keyway_plugin_file::Expected;
use keyway_secrets::Id;
use serde::Serialize;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::names;
use crate::output::{self, json};
use crate::prompt;
use crate::store::{Destination, Removed, StoreOptions, Writer};

/// Options of `keyway rm`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The ids of the secrets, such as `web/token`.
    #[arg(value_name = "ID", value_parser = names::id, required = true, num_args = 1..)]
    ids: Vec<Id>,
    /// Do not ask before removing; without a terminal there is no question.
    #[arg(long)]
    yes: bool,
    /// The provider that has them [default: where `keyway set` stores].
    #[arg(long, value_name = "PROVIDER", value_parser = names::provider, conflicts_with = "store")]
    from: Option<String>,
    #[command(flatten)]
    store: StoreOptions,
}

/// The output of `--json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    removed: Vec<Row<'a>>,
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    id: &'a str,
    provider: String,
    versions: usize,
    restorable: bool,
}

/// Removes each secret with all its versions. One that cannot be removed does not keep the others.
pub(crate) fn run(globals: &Globals, options: &Options) -> Result<Exit, Failure> {
    let ids = &options.ids;
    if !options.yes && !confirm(ids)? {
        return Err(Failure::error(
            "nothing was removed",
            "Enter `y` to remove, or leave the question out with --yes",
        ));
    }
    let destination = Destination {
        store: &options.store,
        provider: options.from.as_deref(),
        force: false,
    };
    let mut writer = Writer::open(globals, destination)?;
    let (mut removed, mut failed) = (Vec::new(), None::<Failure>);
    for id in ids {
        match writer.remove(id, &Expected::Any) {
            Ok(done) => removed.push((id, done)),
            Err(failure) => {
                let failure = Failure::from(failure);
                failed = Some(match failed {
                    Some(before) => failure.combined_with(&before),
                    None => failure,
                });
            }
        }
    }
    print(globals, &removed)?;
    if !globals.json
        && let Some((id, _)) = removed.iter().find(|(_, done)| done.is_restorable)
    {
        output::note(format_args!(
            "what was removed is kept for a while: `keyway versions {id}` shows it, and `keyway restore` brings it back"
        ));
    }
    failed.map_or(Ok(Exit::Done), Err)
}

fn print(globals: &Globals, removed: &[(&Id, Removed)]) -> Result<Exit, Failure> {
    if globals.json {
        let rows = removed.iter().map(|(id, done)| Row {
            id: id.as_str(),
            provider: done.provider.clone(),
            versions: done.n_versions,
            restorable: done.is_restorable,
        });
        return output::print_text(json::line(&Report {
            removed: rows.collect(),
        }));
    }
    let lines = removed.iter().map(|(id, done)| {
        let versions = output::count(done.n_versions, "version");
        format!("removed {id} ({versions}) from {}\n", done.place)
    });
    output::print_text(lines.collect::<String>())
}

/// Asks at a terminal. Without one nothing is asked.
fn confirm(ids: &[Id]) -> Result<bool, Failure> {
    let what = match ids {
        [id] => id.to_string(),
        [first, ..] => format!("{} secrets, the first of which is {first}", ids.len()),
        [] => return Ok(true),
    };
    prompt::confirm(&format!("Remove {what}? [y/N] ")).map_err(|error| {
        Failure::error(
            format_args!("the terminal cannot be read: {error}"),
            "Nothing was removed; use --yes",
        )
    })
}
