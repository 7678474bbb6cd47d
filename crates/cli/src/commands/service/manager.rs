//! Calls of `systemctl --user`, each bounded in time.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use crate::failure::Failure;
use crate::program;

/// How long a call may take. A restart of the service waits until the daemon is ready, for which its unit allows 30 s after at most 15 s
/// for the end of the former one.
const LIMIT: Duration = Duration::from_secs(90);

/// Runs `systemctl --user` with these arguments and returns its output.
///
/// # Errors
///
/// Returns a [`Failure`] with what `systemctl` reported if it fails, is missing, or does not end in time.
pub(super) fn systemctl(arguments: &[&str]) -> Result<String, Failure> {
    let line = format!("systemctl --user {}", arguments.join(" "));
    let arguments = ["--user", "--no-pager"].iter().chain(arguments).copied();
    let output = output("systemctl", arguments).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::error(
            "there is no `systemctl`: this machine does not run systemd",
            "Start the daemon with `keyway serve` from what starts your session",
        ),
        _ => Failure::error(
            format_args!("`{line}` failed: {error}"),
            "Run that command to see what it waits for, then try again",
        ),
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let reason = String::from_utf8_lossy(&output.stderr);
    Err(failed(&line, &reason, output.status))
}

/// Runs a program whose output is not translated.
pub(super) fn output<'a>(
    program: &str,
    arguments: impl Iterator<Item = &'a str>,
) -> io::Result<Output> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("LC_ALL", "C")
        .env("SYSTEMD_COLORS", "0");
    program::output(command, LIMIT)
}

/// Explains a failed call.
fn failed(line: &str, reason: &str, status: std::process::ExitStatus) -> Failure {
    let reasons: Vec<_> = reason
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let what = match reasons.as_slice() {
        [] => format!("`{line}` failed: {status}"),
        reasons => format!("`{line}` failed: {}", reasons.join(" ")),
    };
    // As each of the messages says that there is nothing to talk to.
    if reason.contains("Failed to connect to") || reason.contains("XDG_RUNTIME_DIR") {
        let uid = rustix::process::geteuid().as_raw();
        return Failure::error(
            what,
            format_args!(
                "No systemd of this user was found: log in as the user (not with `su` or `sudo`), or, if `loginctl enable-linger` is on, set XDG_RUNTIME_DIR=/run/user/{uid}"
            ),
        );
    }
    Failure::error(
        what,
        "Run `systemctl --user status keyway.socket keyway.service` and `journalctl --user -u keyway` to see why",
    )
}

/// The user's systemd: where it looks for units, and the environment that it gives to services.
#[derive(Debug)]
pub(super) struct Manager {
    /// The directories of units, in the order in which systemd looks.
    pub(super) unit_dirs: Vec<PathBuf>,
    /// The variables of services; `None` if this systemd does not print them in JSON, as versions before 248.
    pub(super) environment: Option<HashMap<String, String>>,
}

impl Manager {
    /// Reads both.
    pub(super) fn read() -> Result<Self, Failure> {
        let unit_dirs = systemctl(&["show", "--property=UnitPath", "--value"])?;
        let environment = systemctl(&["show-environment", "--output=json"])?;
        Ok(Self {
            unit_dirs: unit_dirs.split_whitespace().map(PathBuf::from).collect(),
            environment: serde_json::from_str(&environment).ok(),
        })
    }
}

/// What systemd knows of a unit.
#[derive(Debug)]
pub(super) struct UnitFacts(HashMap<String, String>);

impl UnitFacts {
    /// Reads the facts about a unit, which need not exist.
    pub(super) fn read(unit: &str) -> Result<Self, Failure> {
        let properties = "--property=ActiveState,UnitFileState,MainPID,NeedDaemonReload";
        systemctl(&["show", properties, unit]).map(|text| Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Self(
            pairs
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    fn get(&self, property: &str) -> &str {
        self.0.get(property).map_or("", String::as_str)
    }

    /// Returns the state of the unit, such as `active`, `inactive` or `failed`.
    pub(super) fn active_state(&self) -> &str {
        self.get("ActiveState")
    }

    /// Returns `true` if the unit is active.
    pub(super) fn is_active(&self) -> bool {
        matches!(self.active_state(), "active" | "activating" | "reloading")
    }

    /// Returns `true` if the unit is started with the session, as `systemctl enable` does.
    pub(super) fn is_enabled(&self) -> bool {
        matches!(self.get("UnitFileState"), "enabled" | "enabled-runtime")
    }

    /// Returns the process of a service that runs.
    pub(super) fn main_pid(&self) -> Option<i32> {
        self.get("MainPID").parse().ok().filter(|pid| *pid > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    use super::*;

    #[test]
    fn the_facts_of_a_unit_are_read() {
        let facts =
            UnitFacts::parse("MainPID=4711\nActiveState=active\nUnitFileState=enabled\nX=a=b\n");
        assert!(facts.is_active() && facts.is_enabled());
        assert_eq!(facts.main_pid(), Some(4711));
        let absent = UnitFacts::parse("MainPID=0\nActiveState=inactive\nUnitFileState=\n");
        assert!(!absent.is_active() && !absent.is_enabled());
        assert_eq!(absent.main_pid(), None);
    }

    #[test]
    fn a_missing_user_manager_is_explained() {
        for reason in [
            "Failed to connect to bus: No medium found\n",
            "Failed to connect to user scope bus via local transport: $DBUS_SESSION_BUS_ADDRESS and $XDG_RUNTIME_DIR not defined (consider using --machine=<user>@.host --user)",
        ] {
            let failure = failed("systemctl --user x", reason, ExitStatus::from_raw(256));
            assert!(
                failure.advice().contains("XDG_RUNTIME_DIR=/run/user/"),
                "{failure}"
            );
            assert!(failure.what().contains(reason.trim()), "{failure}");
        }
        let failure = failed("systemctl --user x", "", ExitStatus::from_raw(256));
        assert!(failure.what().ends_with("failed: exit status: 1"));
    }
}
