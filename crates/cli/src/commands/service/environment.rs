//! Variables of the shell that decide which files the daemon uses, and that systemd does not have.
//!
//! A service gets the environment of systemd, not that of a shell: without these variables its daemon would read another
//! configuration, and open another store, than the commands of the user.

use std::collections::{BTreeMap, HashMap};
use std::env;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use keyway_plugin_file::{IDENTITY_VARIABLE, PASSPHRASE_FILE_VARIABLE, STORE_VARIABLE};

use super::manager::Manager;
use super::units::{self, MARKER, Unit};
use crate::failure::Failure;

/// The variables, all of which are paths, each with the default below the home if it has one there.
const VARIABLES: [(&str, Option<&str>); 6] = [
    ("XDG_CONFIG_HOME", Some(".config")),
    ("XDG_DATA_HOME", Some(".local/share")),
    ("XDG_STATE_HOME", Some(".local/state")),
    (STORE_VARIABLE, None),
    (IDENTITY_VARIABLE, None),
    (PASSPHRASE_FILE_VARIABLE, None),
];

/// The name of the file that adds variables to the service, below the directory of units.
const FILE: &str = "keyway.service.d/environment.conf";

/// Names and values.
pub(super) type Variables = BTreeMap<String, String>;

/// The file that adds variables to the service, whoever installed its unit.
#[derive(Debug)]
pub(super) struct DropIn {
    path: PathBuf,
    /// Whether another author wrote it.
    is_foreign: bool,
    /// What it adds now; nothing if it is not there.
    pub(super) written: Variables,
    /// What it lacks.
    pub(super) missing: Variables,
}

impl DropIn {
    /// Reads the file in a directory of units, and compares it with the environment of this process.
    ///
    /// # Errors
    ///
    /// Returns a [`Failure`] if the file cannot be read.
    pub(super) fn read(directory: &Path, manager: &Manager) -> Result<Self, Failure> {
        let path = directory.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(units::unreadable(&path, &error)),
        };
        let written = parse(&text);
        let environment = manager.environment.as_ref();
        let missing = environment.map_or_else(Variables::new, |of_manager| {
            missing(|name| env::var_os(name), of_manager, &written)
        });
        Ok(Self {
            path,
            is_foreign: !text.is_empty() && !text.starts_with(MARKER),
            written,
            missing,
        })
    }

    /// Returns the file for its removal, if an installation wrote it.
    pub(super) fn installed(&self) -> Option<Unit> {
        let is_ours = !self.written.is_empty() && !self.is_foreign;
        is_ours.then(|| Unit::new(FILE, self.path.clone(), String::new()))
    }

    /// Returns the file with what it lacks. What another shell has added stays: this one may be that of a task of cron.
    ///
    /// # Errors
    ///
    /// Returns a [`Failure`] if another author wrote the file, or if a value cannot be written in a unit file.
    pub(super) fn completed(&self) -> Result<Unit, Failure> {
        if self.is_foreign {
            return Err(units::foreign(&self.path, "Rename it"));
        }
        let mut content = "[Service]\n".to_owned();
        let all: Variables = self
            .written
            .iter()
            .chain(&self.missing)
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        for (name, value) in all {
            let assignment = units::quote(&format!("{name}={value}")).ok_or_else(|| {
                Failure::error(
                    format_args!("systemd cannot pass {name} to the service, because its value has quotes, backslashes or control characters"),
                    format_args!("Set {name} to a path without them"),
                )
            })?;
            // Appending to a string cannot fail.
            let _ = writeln!(content, "Environment={assignment}");
        }
        Ok(Unit::new(FILE, self.path.clone(), content))
    }
}

/// Returns the variables that a file of [`DropIn`] adds.
fn parse(text: &str) -> Variables {
    let assignments = text.lines().filter_map(|line| {
        let quoted = line.strip_prefix("Environment=\"")?.strip_suffix('"')?;
        let (name, value) = quoted.split_once('=')?;
        Some((name.to_owned(), value.replace("%%", "%")))
    });
    assignments.collect()
}

/// Returns the variables of this process that the service does not have: neither from systemd, nor from what an installation has
/// written.
fn missing(
    own: impl Fn(&str) -> Option<OsString>,
    of_manager: &HashMap<String, String>,
    written: &Variables,
) -> Variables {
    let home = own("HOME").map(PathBuf::from);
    let missing = VARIABLES.into_iter().filter_map(|(name, default)| {
        let value = own(name)?.into_string().ok()?;
        let default = || Some(home.as_ref()?.join(default?).to_str()?.to_owned());
        let of_service = written.get(name).or_else(|| of_manager.get(name)).cloned();
        // A relative path counts as none.
        let is_missing =
            Path::new(&value).is_absolute() && of_service.or_else(default).as_ref() != Some(&value);
        is_missing.then(|| (name.to_owned(), value))
    });
    missing.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(
        own: &[(&str, &str)],
        of_manager: &[(&str, &str)],
        written: &[(&str, &str)],
    ) -> String {
        let owned = |pairs: &[(&str, &str)]| {
            let pairs = pairs
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string()));
            pairs.collect::<Vec<_>>()
        };
        let own: HashMap<_, _> = owned(own).into_iter().collect();
        let missing = missing(
            |name| own.get(name).map(OsString::from),
            &owned(of_manager).into_iter().collect(),
            &owned(written).into_iter().collect(),
        );
        let pairs = missing
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        pairs.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn only_paths_that_the_service_would_not_use_are_missing() {
        let home = ("HOME", "/h");
        assert_eq!(
            found(&[home, ("XDG_DATA_HOME", "/d")], &[], &[]),
            "XDG_DATA_HOME=/d"
        );
        // The default, a relative path, and a variable that the daemon does not read.
        for (name, value) in [
            ("XDG_DATA_HOME", "/h/.local/share"),
            ("XDG_DATA_HOME", "d"),
            ("KEYWAY_TOKEN", "/d"),
        ] {
            assert_eq!(
                found(&[home, (name, value)], &[], &[]),
                "",
                "{name}={value}"
            );
        }
        let store = [home, ("KEYWAY_FILE_STORE", "/s")];
        assert_eq!(found(&store, &[("KEYWAY_FILE_STORE", "/s")], &[]), "");
        assert_eq!(
            found(
                &store,
                &[("KEYWAY_FILE_STORE", "/t")],
                &[("KEYWAY_FILE_STORE", "/s")]
            ),
            ""
        );
        assert_eq!(
            found(&store, &[("KEYWAY_FILE_STORE", "/t")], &[]),
            "KEYWAY_FILE_STORE=/s"
        );
    }

    #[test]
    fn what_was_written_is_read_and_completed() {
        let home = tempfile::tempdir().unwrap();
        let manager = Manager {
            unit_dirs: Vec::new(),
            environment: None,
        };
        let mut drop_in = DropIn::read(home.path(), &manager).unwrap();
        assert_eq!(drop_in.written, Variables::new());
        drop_in.missing = [("KEYWAY_FILE_STORE", "/50% of it"), ("XDG_DATA_HOME", "/d")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        drop_in.completed().unwrap().write().unwrap();
        let again = DropIn::read(home.path(), &manager).unwrap();
        assert_eq!(again.written, drop_in.missing);
        fs::write(home.path().join(FILE), "[Service]\nEnvironment=\"X=/y\"\n").unwrap();
        let foreign = DropIn::read(home.path(), &manager).unwrap();
        assert!(foreign.installed().is_none() && foreign.completed().is_err());
        let mut more = again;
        more.missing = [("XDG_DATA_HOME".to_owned(), "/\"".to_owned())].into();
        let failure = more.completed().unwrap_err();
        assert!(failure.what().contains("XDG_DATA_HOME"), "{failure}");
    }
}
