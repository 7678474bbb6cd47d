//! `keyway service status`.

use std::fmt::Write as _;

use serde::Serialize;

use super::installation::Installation;
use super::linger;
use super::manager::UnitFacts;
use super::units::{self, UnitState};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::output::{self, json};

/// What systemd knows of the daemon; the output of `--json`.
#[derive(Debug, Serialize)]
pub(crate) struct ServiceStatus {
    pub(crate) units: Vec<UnitStatus>,
    /// The process of the daemon, if systemd runs one.
    pub(crate) pid: Option<i32>,
    /// The variables of this shell that name files of the daemon, and that the service does not have.
    pub(crate) missing_variables: Vec<String>,
    /// Whether systemd keeps the service after logout; `null` if that is not known.
    pub(crate) linger: Option<bool>,
}

/// What is known of one unit.
#[derive(Debug, Serialize)]
pub(crate) struct UnitStatus {
    pub(crate) name: &'static str,
    path: String,
    pub(crate) file: UnitState,
    pub(crate) is_enabled: bool,
    /// The state of the unit in the words of systemd, such as `active` or `failed`.
    pub(crate) active: String,
}

impl UnitStatus {
    /// Returns `true` if the unit listens, and so starts the other one.
    pub(crate) fn is_socket(&self) -> bool {
        self.name == units::SOCKET
    }
}

/// Prints what is installed, and what systemd makes of it.
pub(super) fn run(globals: &Globals) -> Result<Exit, Failure> {
    let status = ServiceStatus::read()?;
    match globals.json {
        true => output::print_text(json::line(&status)),
        false => output::print_text(status.lines()),
    }
}

impl ServiceStatus {
    /// Asks systemd for both units, for the process of the daemon if it runs one, and for the user.
    ///
    /// # Errors
    ///
    /// Returns a [`Failure`] if systemd does not respond, or if the file of a unit cannot be read.
    pub(crate) fn read() -> Result<Self, Failure> {
        let installation = Installation::read()?;
        let package = installation.package.as_ref();
        let mut pid = None;
        let mut statuses = Vec::new();
        for (unit, state) in &installation.units {
            let facts = UnitFacts::read(unit.name)?;
            pid = pid.or(facts.main_pid());
            let (file, path) = match (state, package) {
                (UnitState::Absent, Some(package)) => {
                    (UnitState::Packaged, package.directory.join(unit.name))
                }
                _ => (*state, unit.path.clone()),
            };
            statuses.push(UnitStatus {
                name: unit.name,
                path: path.display().to_string(),
                file,
                is_enabled: facts.is_enabled(),
                active: facts.active_state().to_owned(),
            });
        }
        let missing = installation.drop_in.missing;
        Ok(Self {
            units: statuses,
            pid,
            missing_variables: missing.into_keys().collect(),
            linger: linger::is_lingering(),
        })
    }

    /// Returns `true` if the units are there, also those of another author.
    pub(crate) fn is_installed(&self) -> bool {
        self.units.iter().all(|unit| unit.file != UnitState::Absent)
    }

    fn lines(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: &str| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name:<16}{value}");
        };
        for unit in &self.units {
            let file = match unit.file {
                UnitState::Absent => "not installed: run `keyway service install`",
                UnitState::Current => "installed",
                UnitState::Outdated => "outdated: run `keyway service install`",
                UnitState::Foreign => "not written by `keyway service install`",
                UnitState::Packaged => "installed by a package",
            };
            let enabled = match (unit.is_socket(), unit.is_enabled) {
                (true, true) => ", enabled",
                (true, false) => ", not enabled",
                // The socket starts the service.
                (false, _) => "",
            };
            line(unit.name, &format!("{}{enabled}, {file}", unit.active));
        }
        match self.pid {
            Some(pid) => line("daemon", &format!("process {pid}")),
            None => line(
                "daemon",
                "not started by systemd: the first request does that",
            ),
        }
        if self.is_installed() && !self.missing_variables.is_empty() {
            line(
                "variables",
                &format!(
                    "{} of this shell missing: run `keyway service install`",
                    self.missing_variables.join(" and ")
                ),
            );
        }
        line(
            "linger",
            match self.linger {
                Some(true) => "on",
                Some(false) => "off: `loginctl enable-linger` keeps the daemon after logout",
                None => "not known",
            },
        );
        text
    }
}
