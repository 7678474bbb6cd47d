//! `keyway mv`: gives a secret another id.

use clap::Args;
use keyway_plugin_file::Expected;
use keyway_resolver::Envelope;
use keyway_secrets::Id;
use serde::Serialize;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::names;
use crate::output::{self, json};
use crate::store::{self, Destination, StoreOptions, WriteFailure, Writer, Written};

/// Options of `keyway mv`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The present id of the secret.
    #[arg(value_parser = names::id)]
    old: Id,
    /// Its new id, which no secret may have.
    #[arg(value_parser = names::id)]
    new: Id,
    /// Store it although another provider's value would be returned for the new id.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    store: StoreOptions,
}

/// The output of `--json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    old: &'a str,
    new: &'a str,
    version: &'a str,
    provider: &'a str,
}

/// Stores the current value under the new id at the same provider, and then removes the old id if its version is still the one
/// that was read. After an interruption the secret has at least one of the ids; the same command then goes on.
pub(crate) fn run(globals: &Globals, options: &Options) -> Result<Exit, Failure> {
    let (old, new) = (&options.old, &options.new);
    if old == new {
        return Err(Failure::usage(
            "both ids are the same",
            "Give the secret another id",
        ));
    }
    store::check_id(new)?;
    let destination = Destination {
        store: &options.store,
        provider: None,
        force: options.force,
    };
    let mut writer = Writer::open(globals, destination)?;
    let read = writer.read(old)?;
    writer.prefer(&read.provider);
    let written = copy(&mut writer, new, &read)?;
    let expected = match read.version.as_str() {
        "" => Expected::Any,
        version => Expected::Version(version.to_owned()),
    };
    if let Err(failure) = writer.remove(old, &expected) {
        let failure = Failure::from(failure);
        let what = format!(
            "{new} has the value now, but {old} was not removed: {}",
            failure.causes()
        );
        let advice = "Compare both, then remove one of them with `keyway rm`";
        return Err(failure.with_sentences(what, advice));
    }
    if globals.json {
        return output::print_text(json::line(&Report {
            old: old.as_str(),
            new: new.as_str(),
            version: &written.version,
            provider: &written.provider,
        }));
    }
    output::print_text(format_args!(
        "moved {old} to {new} (version {}) in {}\n",
        written.version, written.place
    ))
}

/// Stores the value under the new id. If an interrupted run has done so already, nothing is stored.
fn copy(writer: &mut Writer<'_>, new: &Id, read: &Envelope) -> Result<Written, Failure> {
    let stored = writer.set_with_metadata(new, &read.value, &read.metadata, &Expected::Absent);
    match stored {
        Ok(written) => return Ok(written),
        Err(WriteFailure::UnexpectedVersion(_)) => {}
        Err(WriteFailure::Failed(failure)) => return Err(failure),
    }
    if let Ok(present) = writer.read(new)
        && present.value == read.value
        && present.provider == read.provider
    {
        return Ok(Written {
            version: present.version,
            place: present.provider.clone(),
            provider: present.provider,
        });
    }
    Err(Failure::error(
        format_args!("{new} exists already"),
        format_args!(
            "Nothing was changed; choose another id, or remove {new} first with `keyway rm {new}`"
        ),
    ))
}
