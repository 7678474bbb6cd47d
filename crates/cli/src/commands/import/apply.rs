//! Moves the values of one file: into the store, read back from there, and only then out of the file.

use std::path::PathBuf;

use keyway_plugin_file::Expected;

use super::formats::rewrite;
use super::plan::{Choice, FilePlan, Line, Stored, Vault};
use super::source::Source;
use super::steps::{self, Step};
use crate::failure::Failure;

/// What was done with a file.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// Number of values that were stored; the others were in the store already.
    pub(super) n_stored: usize,
    /// The copy of the old file, if one was requested.
    pub(super) backup: Option<PathBuf>,
}

/// Moves all values with a destination. If this fails or the process is killed, each value is in the file or in the store.
///
/// # Errors
///
/// Returns a [`Failure`] if a value cannot be stored or differs when it is read back, or if the file was changed or cannot be
/// replaced. The file is then unchanged.
pub(super) fn apply(
    source: &Source,
    plan: &FilePlan,
    vault: &impl Vault,
    backs_up: bool,
) -> Result<Applied, Failure> {
    let mut applied = Applied::default();
    let moved = || {
        plan.lines
            .iter()
            .filter_map(|line| Some((line, line.destination()?)))
    };
    if moved().next().is_none() {
        return Ok(applied);
    }
    source.check_unchanged()?;
    for (line, id) in moved() {
        applied.n_stored += usize::from(store(line, id, vault)?);
    }
    for (line, id) in moved() {
        verify(line, id, vault)?;
    }
    steps::reached(Step::Verified);
    if backs_up {
        applied.backup = Some(source.back_up()?);
    }
    let content = rewrite(&source.text, moved().map(|(line, id)| (&line.field, id)));
    source.replace(&content)?;
    Ok(applied)
}

/// Stores a value unless it is in the store already. Returns `true` if it was stored.
fn store(line: &Line, id: &keyway_secrets::Id, vault: &impl Vault) -> Result<bool, Failure> {
    let replaces = matches!(line.choice, Choice::Move(_, Stored::Replaced));
    let expected = match (vault.current(id)?, replaces) {
        (Some(value), _) if value == line.field.value => return Ok(false),
        (_, true) => Expected::Any,
        (None, false) => Expected::Absent,
        (Some(_), false) => {
            return Err(Failure::error(
                format_args!("{id} was stored with another value in the meantime"),
                "The file is as it was; run the command again",
            ));
        }
    };
    vault.store(id, &line.field.value, &expected)?;
    steps::reached(Step::Stored);
    Ok(true)
}

fn verify(line: &Line, id: &keyway_secrets::Id, vault: &impl Vault) -> Result<(), Failure> {
    match vault.current(id)? {
        Some(value) if value == line.field.value => Ok(()),
        _ => Err(Failure::error(
            format_args!("{id} has another value when it is read back"),
            format_args!(
                "The file is as it was; run `keyway get {id} --explain` to see which provider returns it"
            ),
        )),
    }
}
