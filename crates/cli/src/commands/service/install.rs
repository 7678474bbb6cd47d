//! `keyway service install`.

use std::fmt::Write as _;

use serde::Serialize;

use super::manager::{UnitFacts, systemctl};
use super::units::{self, Unit, UnitState};
use super::{conflict, linger};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::output::{self, json};

/// The output of `--json`.
#[derive(Debug, Serialize)]
struct Installed {
    /// The unit files that were written; empty if they were current.
    written: Vec<String>,
    /// Whether systemd keeps the service after logout; `null` if that is not known.
    linger: Option<bool>,
}

/// Writes the units, and has systemd listen.
pub(super) fn run(globals: &Globals) -> Result<Exit, Failure> {
    let units = units::of_process()?;
    let states = examine(&units)?;
    let socket = UnitFacts::read(units::SOCKET)?;
    let service = UnitFacts::read(units::SERVICE)?;
    conflict::check(globals, &socket, &service)?;
    let mut written = Vec::new();
    for (unit, state) in units.iter().zip(states) {
        if state != UnitState::Current {
            unit.write().map_err(|error| {
                Failure::error(
                    format_args!("{} cannot be written: {error}", unit.path.display()),
                    "Check the permissions and the free space of that directory",
                )
            })?;
            written.push(unit.path.display().to_string());
        }
    }
    systemctl(&["daemon-reload"])?;
    systemctl(&["enable", "--now", units::SOCKET])?;
    let is_restarted = socket.is_active() && !written.is_empty();
    if is_restarted {
        // One transaction: systemd ends the daemon before it makes the sockets again.
        systemctl(&["try-restart", units::SOCKET, units::SERVICE])?;
    }
    let linger = linger::is_lingering();
    if globals.json {
        return output::print_text(json::line(&Installed { written, linger }));
    }
    output::print_text(report(
        &written,
        is_restarted && service.is_active(),
        linger,
    ))
}

/// Examines the files that are there already.
fn examine(units: &[Unit; 2]) -> Result<[UnitState; 2], Failure> {
    let [socket, service] = units;
    let states = [units::state(socket)?, units::state(service)?];
    for (unit, state) in units.iter().zip(states) {
        if state == UnitState::Foreign {
            return Err(Failure::error(
                format_args!(
                    "{} was not written by `keyway service install` and is left alone",
                    unit.path.display()
                ),
                "Remove it, or keep it and start the service with `systemctl --user enable --now keyway.socket`",
            ));
        }
    }
    Ok(states)
}

fn report(written: &[String], is_restarted: bool, linger: Option<bool>) -> String {
    let mut text = String::new();
    let mut line = |line: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{line}");
    };
    for path in written {
        line(&format!("wrote {path}"));
    }
    if written.is_empty() {
        line("the units were current");
    }
    line(match is_restarted {
        true => "keyway.socket is enabled, and the daemon was restarted",
        false => "keyway.socket is enabled: the first request starts the daemon",
    });
    if let Some(note) = linger::note(linger) {
        line(note);
    }
    text
}
