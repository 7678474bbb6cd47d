//! The unit files: their content, their place, and whether a file there is one of ours.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::manager::Manager;
use crate::failure::Failure;
use crate::temporary;

/// The name of the unit that runs the daemon.
pub(super) const SERVICE: &str = "keyway.service";

/// The name of the unit that listens for it.
pub(super) const SOCKET: &str = "keyway.socket";

/// The first line of a file that this program has written and may replace.
pub(super) const MARKER: &str = "# Written by `keyway service install`, which replaces this file. Changes belong into `systemctl --user edit`.\n";

/// The path of the program in the unit files.
const PROGRAM: &str = "/usr/bin/keyway";

/// A unit file, as this program writes it.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) name: &'static str,
    pub(super) path: PathBuf,
    content: String,
}

/// What is at the path of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UnitState {
    /// No file.
    Absent,
    /// The file that this program writes.
    Current,
    /// A file that another version or another copy of this program wrote.
    Outdated,
    /// A file that this program did not write.
    Foreign,
    /// No file, and a package has installed the unit.
    Packaged,
}

impl UnitState {
    /// Returns `true` if the file is one that this program may replace or remove.
    pub(super) fn is_ours(self) -> bool {
        matches!(self, Self::Current | Self::Outdated)
    }
}

/// Returns the directory in which systemd looks for the units of the user.
///
/// # Errors
///
/// Returns a [`Failure`] if there is no home.
pub(super) fn directory(manager: &Manager) -> Result<PathBuf, Failure> {
    // A shell may have another XDG_CONFIG_HOME than systemd.
    let variable = |name: &str| match &manager.environment {
        Some(environment) if name != "HOME" => environment.get(name).map(OsString::from),
        _ => env::var_os(name),
    };
    keyway_local::base_directory(variable, "XDG_CONFIG_HOME", ".config")
        .map(|config| config.join("systemd/user"))
        .ok_or_else(|| {
            Failure::usage(
                "neither XDG_CONFIG_HOME nor HOME names a directory for the units",
                "Set HOME",
            )
        })
}

/// Returns the path of this program.
///
/// # Errors
///
/// Returns a [`Failure`] if it is not known, or leads to another file by now.
pub(super) fn program() -> Result<PathBuf, Failure> {
    let program = env::current_exe().map_err(|error| {
        Failure::error(
            format_args!("the path of this program cannot be read: {error}"),
            "Mount /proc",
        )
    })?;
    if program.as_os_str().as_bytes().ends_with(b" (deleted)") {
        return Err(Failure::error(
            "the file of this program was replaced while it ran",
            "Run the command again",
        ));
    }
    Ok(program)
}

/// Examines the file of a unit.
///
/// # Errors
///
/// Returns a [`Failure`] if the file cannot be read.
pub(super) fn state(unit: &Unit) -> Result<UnitState, Failure> {
    unit.state().map_err(|error| unreadable(&unit.path, &error))
}

/// Explains that a file of another author is in the way.
pub(super) fn foreign(path: &Path, advice: &str) -> Failure {
    Failure::error(
        format_args!(
            "{} was not written by `keyway service install` and is left alone",
            path.display()
        ),
        advice,
    )
}

/// Explains an error of reading a file of systemd.
pub(super) fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::error(
        format_args!("{} cannot be read: {error}", path.display()),
        "Check the permissions of that file and of its directory",
    )
}

/// Returns the units that run `program`, in a directory of units. The socket is the first.
///
/// # Errors
///
/// Returns a [`Failure`] if the path of the program cannot be written in a unit file.
pub(super) fn units(directory: &Path, program: &Path) -> Result<[Unit; 2], Failure> {
    let quoted = program.to_str().and_then(quote).ok_or_else(|| {
        Failure::error(
            "systemd cannot start this program, because its path has quotes, backslashes or control characters, or is not UTF-8",
            "Move the program to another directory, and run `keyway service install` there",
        )
    })?;
    let unit = |name, content| Unit::new(name, directory.join(name), content);
    Ok([
        unit(SOCKET, include_str!("keyway.socket").to_owned()),
        unit(
            SERVICE,
            include_str!("keyway.service").replace(PROGRAM, &quoted),
        ),
    ])
}

/// Quotes a path for `ExecStart=`, or an assignment for `Environment=`; `None` for a text that systemd would not take. It expands
/// specifiers there, and no variables.
pub(super) fn quote(text: &str) -> Option<String> {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '%' => quoted.push_str("%%"),
            // systemd refuses these, whether they are escaped or not.
            '"' | '\'' | '\\' => return None,
            c if c.is_control() => return None,
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    Some(quoted)
}

impl Unit {
    /// Describes a file with this content behind the marker.
    pub(super) fn new(name: &'static str, path: PathBuf, content: String) -> Self {
        Self {
            name,
            path,
            content: format!("{MARKER}{content}"),
        }
    }

    /// Examines the file at the path of the unit. A link is foreign, wherever it leads.
    fn state(&self) -> io::Result<UnitState> {
        match fs::symlink_metadata(&self.path) {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => return Ok(UnitState::Foreign),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(UnitState::Absent),
            Err(error) => return Err(error),
        }
        let found = fs::read(&self.path)?;
        Ok(match found {
            found if found == self.content.as_bytes() => UnitState::Current,
            found if found.starts_with(MARKER.as_bytes()) => UnitState::Outdated,
            _ => UnitState::Foreign,
        })
    }

    /// Writes the file at once, with mode 0644, and the directories above it.
    ///
    /// # Errors
    ///
    /// Returns a [`Failure`] if it cannot be written.
    pub(super) fn write(&self) -> Result<(), Failure> {
        let written = self.path.parent().map_or(Ok(()), fs::create_dir_all);
        let written = written.and_then(|()| {
            let file = temporary::beside(&self.path, self.content.as_bytes(), 0o644)?;
            Ok(file.persist(&self.path).map(drop)?)
        });
        written.map_err(|error| {
            Failure::error(
                format_args!("{} cannot be written: {error}", self.path.display()),
                "Check the permissions and the free space of that directory",
            )
        })
    }

    /// Removes the file.
    ///
    /// # Errors
    ///
    /// Returns a [`Failure`] if it cannot be removed.
    pub(super) fn remove(&self) -> Result<(), Failure> {
        fs::remove_file(&self.path).map_err(|error| {
            Failure::error(
                format_args!("{} cannot be removed: {error}", self.path.display()),
                "Remove it, then run `systemctl --user daemon-reload`",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_path_of_the_program_is_quoted_for_systemd() {
        assert_eq!(
            quote("/usr/bin/keyway").as_deref(),
            Some(r#""/usr/bin/keyway""#)
        );
        assert_eq!(
            quote("/a b/50%/$HOME/keyway").as_deref(),
            Some(r#""/a b/50%%/$HOME/keyway""#)
        );
        for refused in ["/it's", r#"/"q""#, r"/back\slash"] {
            assert_eq!(quote(refused), None);
        }
        assert_eq!(quote("/a\nExecStart=b"), None);
        assert_eq!(quote("/a\u{7f}"), None);
    }

    #[test]
    fn both_commands_of_the_service_run_the_given_program() {
        let units = units(Path::new("/c"), Path::new("/opt/k w")).unwrap();
        let [socket, service] = &units;
        assert_eq!(socket.path, Path::new("/c/keyway.socket"));
        assert!(!service.content.contains(PROGRAM));
        for line in [
            r#"ExecStart="/opt/k w" serve"#,
            r#"ExecReload="/opt/k w" plugins reload"#,
        ] {
            assert!(service.content.lines().any(|found| found == line), "{line}");
        }
    }

    #[test]
    fn only_files_with_the_marker_are_ours() {
        let config = tempfile::tempdir().unwrap();
        let [socket, _] = units(config.path(), Path::new("/bin/keyway")).unwrap();
        assert_eq!(socket.state().unwrap(), UnitState::Absent);
        socket.write().unwrap();
        assert_eq!(socket.state().unwrap(), UnitState::Current);
        let mode = fs::metadata(&socket.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        fs::write(&socket.path, format!("{MARKER}[Unit]\n")).unwrap();
        assert_eq!(socket.state().unwrap(), UnitState::Outdated);
        fs::write(&socket.path, "[Unit]\n").unwrap();
        assert_eq!(socket.state().unwrap(), UnitState::Foreign);
        fs::remove_file(&socket.path).unwrap();
        // As `systemctl --user mask` does.
        std::os::unix::fs::symlink("/dev/null", &socket.path).unwrap();
        assert_eq!(socket.state().unwrap(), UnitState::Foreign);
    }
}
