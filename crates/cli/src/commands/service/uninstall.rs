//! `keyway service uninstall`.

use std::fmt::Write as _;
use std::fs;

use serde::Serialize;

use super::manager::systemctl;
use super::units::{self, Unit};
use crate::commands::serve::settings::{ConfigOptions, Sources, default_config_file};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::output::{self, json};
use crate::store::StoreOptions;

/// The output of `--json`.
#[derive(Debug, Serialize)]
struct Uninstalled {
    /// The unit files that were removed.
    removed: Vec<String>,
    /// Files and directories of Keyway that exist and stay.
    kept: Vec<Kept>,
}

#[derive(Debug, Serialize)]
struct Kept {
    what: &'static str,
    path: String,
}

/// Stops the service and removes the units that this program has written.
pub(super) fn run(globals: &Globals) -> Result<Exit, Failure> {
    let mut ours = Vec::new();
    for unit in units::of_process()? {
        if units::state(&unit)?.is_ours() {
            ours.push(unit);
        }
    }
    if !ours.is_empty() {
        let names: Vec<_> = ours.iter().map(|unit| unit.name).collect();
        systemctl(&[&["disable", "--now"], names.as_slice()].concat())?;
        ours.iter().try_for_each(remove)?;
        systemctl(&["daemon-reload"])?;
    }
    let uninstalled = Uninstalled {
        removed: ours
            .iter()
            .map(|unit| unit.path.display().to_string())
            .collect(),
        kept: kept()?,
    };
    match globals.json {
        true => output::print_text(json::line(&uninstalled)),
        false => output::print_text(uninstalled.lines()),
    }
}

fn remove(unit: &Unit) -> Result<(), Failure> {
    fs::remove_file(&unit.path).map_err(|error| {
        Failure::error(
            format_args!("{} cannot be removed: {error}", unit.path.display()),
            "Remove it, then run `systemctl --user daemon-reload`",
        )
    })
}

/// Finds what else Keyway has made in this home.
fn kept() -> Result<Vec<Kept>, Failure> {
    let sources = Sources::new(&ConfigOptions::default())?;
    let store = StoreOptions::default().open()?;
    let places = [
        ("secrets", Some(store.dir().to_owned())),
        ("state", Some(sources.state_dir().to_owned())),
        ("configuration", default_config_file()),
    ];
    let existing = places
        .into_iter()
        .filter_map(|(what, path)| Some((what, path?)))
        .filter(|(_, path)| path.exists());
    Ok(existing
        .map(|(what, path)| Kept {
            what,
            path: path.display().to_string(),
        })
        .collect())
}

impl Uninstalled {
    fn lines(&self) -> String {
        let mut text = String::new();
        let mut line = |line: &str| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{line}");
        };
        for path in &self.removed {
            line(&format!("removed {path}"));
        }
        if self.removed.is_empty() {
            line("no unit of `keyway service install` was there");
        }
        for Kept { what, path } in &self.kept {
            line(&format!("kept {what} at {path}"));
        }
        text
    }
}
