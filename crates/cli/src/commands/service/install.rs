//! `keyway service install`.

use std::env;
use std::ffi::OsStr;
use std::fmt::Write as _;

use keyway_local::{Places, SOCKET_VARIABLE};
use serde::Serialize;

use super::installation::Installation;
use super::manager::{UnitFacts, systemctl};
use super::package::Package;
use super::units::{self, Unit, UnitState};
use super::{conflict, linger};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::output::{self, json};

/// The output of `--json`.
#[derive(Debug, Default, Serialize)]
struct Installed {
    /// The unit files that were written; empty if they were current.
    written: Vec<String>,
    /// The unit files that were removed, because those of a package run this program.
    removed: Vec<String>,
    /// The directory of the units of a package, if there are any.
    package: Option<String>,
    /// The variables of this shell that the service gets from now on.
    variables: Vec<String>,
    is_restarted: bool,
    /// Whether systemd keeps the service after logout; `null` if that is not known.
    linger: Option<bool>,
}

/// Writes the units, unless those of a package run this program, and has systemd listen.
pub(super) fn run(globals: &Globals) -> Result<Exit, Failure> {
    let installation = Installation::read()?;
    refuse_foreign(&installation)?;
    let socket = UnitFacts::read(units::SOCKET)?;
    let service = UnitFacts::read(units::SERVICE)?;
    let daemon = conflict::check(globals, &socket, &service)?;
    let is_replaced = daemon.is_some_and(|daemon| daemon.is_executable_replaced());
    let mut installed = change_files(&installation)?;
    let has_changed = !installed.written.is_empty() || !installed.removed.is_empty();
    systemctl(&["daemon-reload"])?;
    systemctl(&["enable", "--now", units::SOCKET])?;
    if socket.is_active() && (has_changed || is_replaced) {
        // One transaction: systemd ends the daemon before it makes the sockets again.
        systemctl(&["try-restart", units::SOCKET, units::SERVICE])?;
        installed.is_restarted = service.is_active();
    }
    installed.linger = linger::is_lingering();
    match globals.json {
        true => output::print_text(json::line(&installed)),
        false => output::print_text(installed.lines(&installation)),
    }
}

/// Refuses to install beside files of another author.
fn refuse_foreign(installation: &Installation) -> Result<(), Failure> {
    let foreign = |state| state == UnitState::Foreign;
    match installation.units.iter().find(|(_, state)| foreign(*state)) {
        None => Ok(()),
        Some((unit, _)) => Err(units::foreign(
            &unit.path,
            "Remove it, or keep it and start the service with `systemctl --user enable --now keyway.socket`",
        )),
    }
}

/// Writes and removes files, so that systemd uses the right units and the service has the variables of this shell.
fn change_files(installation: &Installation) -> Result<Installed, Failure> {
    let mut installed = Installed::default();
    let path = |unit: &Unit| unit.path.display().to_string();
    let ours: Vec<_> = installation.ours().collect();
    let is_of_package = installation.is_package_of_program;
    let is_other_source = match is_of_package {
        true => !ours.is_empty(),
        false => installation.package.is_some() && ours.is_empty(),
    };
    if is_other_source {
        // The links of `enable` lead to the former files, and systemd does not replace them.
        systemctl(&["disable", units::SOCKET, units::SERVICE])?;
    }
    if is_of_package {
        for unit in ours {
            unit.remove()?;
            installed.removed.push(path(unit));
        }
    } else {
        for (unit, state) in &installation.units {
            if *state != UnitState::Current {
                unit.write()?;
                installed.written.push(path(unit));
            }
        }
    }
    let drop_in = &installation.drop_in;
    if !drop_in.missing.is_empty() {
        let unit = drop_in.completed()?;
        unit.write()?;
        installed.written.push(path(&unit));
        installed.variables = drop_in.missing.keys().cloned().collect();
    }
    installed.package = installation
        .package
        .as_ref()
        .map(|package| package.directory.display().to_string());
    Ok(installed)
}

impl Installed {
    fn lines(&self, installation: &Installation) -> String {
        let mut text = String::new();
        let mut line = |line: &str| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{line}");
        };
        for path in &self.removed {
            line(&format!("removed {path}"));
        }
        for path in &self.written {
            line(&format!("wrote {path}"));
        }
        match &installation.package {
            Some(Package { directory, .. }) if installation.is_package_of_program => {
                line(&format!(
                    "the units of a package in {} run this program",
                    directory.display()
                ))
            }
            Some(package) => line(&format!(
                "These units take the place of those of a package in {}, which run {}.",
                package.directory.display(),
                package
                    .program
                    .as_deref()
                    .map_or("a program that does not exist".into(), |program| program
                        .to_string_lossy()),
            )),
            None if self.written.is_empty() => line("the units were current"),
            None => {}
        }
        if !self.variables.is_empty() {
            line(&format!(
                "the service gets {} of this shell, which systemd does not pass to it",
                self.variables.join(" and ")
            ));
        }
        line(match self.is_restarted {
            true => "keyway.socket is enabled, and the daemon was restarted",
            false => "keyway.socket is enabled: the first request starts the daemon",
        });
        if is_elsewhere(
            env::var_os(SOCKET_VARIABLE).as_deref(),
            &Places::of_process(),
        ) {
            line(&format!(
                "{SOCKET_VARIABLE} of this shell names another address than that of the service: unset it, or no command finds the daemon."
            ));
        }
        if let Some(note) = linger::note(self.linger) {
            line(note);
        }
        text
    }
}

/// Returns `true` if a variable leads clients to another address than the one at which systemd listens.
fn is_elsewhere(variable: Option<&OsStr>, places: &Places) -> bool {
    let given = variable.filter(|text| !text.is_empty());
    given.is_some_and(|text| {
        let address = keyway_local::Address::from_os_str(text);
        address.is_ok_and(|address| !places.candidates(None).contains(&address))
    })
}
