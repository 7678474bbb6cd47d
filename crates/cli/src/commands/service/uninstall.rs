//! `keyway service uninstall`.

use std::fmt::Write as _;
use std::fs;

use serde::Serialize;

use super::installation::Installation;
use super::manager::{UnitFacts, systemctl};
use super::units;
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
    /// The directory of the units of a package, which are disabled and stay.
    package: Option<String>,
    /// Files and directories of Keyway that exist and stay.
    kept: Vec<Kept>,
}

#[derive(Debug, Serialize)]
struct Kept {
    what: &'static str,
    path: String,
}

/// Stops the service and removes what this program has written for it. The units of a package stay, disabled.
pub(super) fn run(globals: &Globals) -> Result<Exit, Failure> {
    let installation = Installation::read()?;
    let mut files: Vec<_> = installation.ours().collect();
    let drop_in = installation.drop_in.installed();
    files.extend(&drop_in);
    let is_packaged = installation.package.is_some();
    let is_enabled = is_packaged && UnitFacts::read(units::SOCKET)?.is_enabled();
    if !files.is_empty() || is_enabled {
        let ours: Vec<_> = installation.ours().map(|unit| unit.name).collect();
        let names = match is_packaged {
            true => vec![units::SOCKET, units::SERVICE],
            false => ours,
        };
        systemctl(&[&["disable", "--now"], names.as_slice()].concat())?;
        files.iter().try_for_each(|unit| unit.remove())?;
        if let Some(directory) = drop_in.as_ref().and_then(|unit| unit.path.parent()) {
            // Drop-ins of the user may be there.
            let _ = fs::remove_dir(directory);
        }
        systemctl(&["daemon-reload"])?;
    }
    let uninstalled = Uninstalled {
        removed: files
            .iter()
            .map(|unit| unit.path.display().to_string())
            .collect(),
        package: installation
            .package
            .map(|package| package.directory.display().to_string()),
        kept: kept()?,
    };
    match globals.json {
        true => output::print_text(json::line(&uninstalled)),
        false => output::print_text(uninstalled.lines()),
    }
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
        if let Some(directory) = &self.package {
            line(&format!(
                "disabled the units of a package in {directory}, which go with the package"
            ));
        } else if self.removed.is_empty() {
            line("no unit of `keyway service install` was there");
        }
        for Kept { what, path } in &self.kept {
            line(&format!("kept {what} at {path}"));
        }
        text
    }
}
