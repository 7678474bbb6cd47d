//! `keyway ls`: lists secrets and their providers, never values.

mod listing;

use clap::Args;
use keyway_resolver::Pattern;

use crate::daemon::{self, QueryContext};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::names;
use crate::output::{self, json};
use crate::waiting;
use listing::{Listing, UnlistedProvider};

/// Options of `keyway ls`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Only the secrets that this pattern matches: `*` is one component, `**` any number of them; `web/` is `web/**`.
    #[arg(default_value = "**", value_parser = names::place)]
    pattern: Pattern,
    /// Read the secrets of providers that cannot list them; their values are not printed.
    #[arg(long)]
    fetch: bool,
}

/// Prints the list.
pub(crate) fn run(globals: &Globals, options: &Options) -> Result<Exit, Failure> {
    let pattern = &options.pattern;
    daemon::with_client(globals, async |daemon| {
        let context = QueryContext {
            daemon: &daemon,
            globals,
        };
        let patterns = std::slice::from_ref(pattern);
        let listing = Listing::load(context, pattern, options.fetch);
        let listing = waiting::show(&daemon, globals, patterns, listing).await?;
        if globals.json {
            output::print_text(json::line(&listing))?;
        } else {
            output::print_text(listing.table())?;
            let is_disabled = |unlisted: &UnlistedProvider| unlisted.reason == "turned_off";
            if listing.secrets.is_empty() && listing.unlisted.iter().all(is_disabled) {
                output::note(no_match(pattern));
            }
        }
        listing.notes.iter().for_each(output::note);
        let failed = context
            .provider_failure(pattern, &listing.failures, true)
            .await;
        failed.map_or(Ok(Exit::Done), Err)
    })
}

/// Returns a note about a listing without secrets.
fn no_match(pattern: &Pattern) -> String {
    match pattern.as_id() {
        Some(id) => format!("no secret matches {id}; `keyway ls {id}/` lists what is below it"),
        None => format!("no secret matches {pattern}"),
    }
}
