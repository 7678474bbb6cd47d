//! The unit files: their content, their place, and whether a file there is one of ours.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::failure::Failure;
use crate::temporary;

/// The name of the unit that runs the daemon.
pub(super) const SERVICE: &str = "keyway.service";

/// The name of the unit that listens for it.
pub(super) const SOCKET: &str = "keyway.socket";

/// The first line of a file that this program has written and may replace.
const MARKER: &str = "# Written by `keyway service install`, which replaces this file. Changes belong into `systemctl --user edit`.\n";

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
}

impl UnitState {
    /// Returns `true` if the file is one that this program may replace or remove.
    pub(super) fn is_ours(self) -> bool {
        matches!(self, Self::Current | Self::Outdated)
    }
}

/// Returns the units that run this program, for the user of this process.
///
/// # Errors
///
/// Returns a [`Failure`] if the path of the program or the place of the files is not known.
pub(super) fn of_process() -> Result<[Unit; 2], Failure> {
    let config =
        keyway_local::base_directory(|name| env::var_os(name), "XDG_CONFIG_HOME", ".config")
            .ok_or_else(|| {
                Failure::usage(
                    "neither XDG_CONFIG_HOME nor HOME names a directory for the units",
                    "Set HOME",
                )
            })?;
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
    units(&config, &program)
}

/// Examines the file of a unit.
///
/// # Errors
///
/// Returns a [`Failure`] if the file cannot be read.
pub(super) fn state(unit: &Unit) -> Result<UnitState, Failure> {
    unit.state().map_err(|error| {
        Failure::error(
            format_args!("{} cannot be read: {error}", unit.path.display()),
            "Check the permissions of that file and of its directory",
        )
    })
}

/// Returns the units that run `program`, in the directory of the user's units below `config`. The socket is the first.
///
/// # Errors
///
/// Returns a [`Failure`] if the path of the program cannot be written in a unit file.
fn units(config: &Path, program: &Path) -> Result<[Unit; 2], Failure> {
    let quoted = quote(program.as_os_str()).ok_or_else(|| {
        Failure::error(
            "systemd cannot start this program, because its path has quotes, backslashes or control characters, or is not UTF-8",
            "Move the program to another directory, and run `keyway service install` there",
        )
    })?;
    let unit = |name, content: String| Unit {
        name,
        path: config.join("systemd/user").join(name),
        content: format!("{MARKER}{content}"),
    };
    Ok([
        unit(SOCKET, include_str!("keyway.socket").to_owned()),
        unit(
            SERVICE,
            include_str!("keyway.service").replace(PROGRAM, &quoted),
        ),
    ])
}

/// Quotes the path of a program for `ExecStart=`. systemd expands specifiers in it, and no variables.
fn quote(program: &OsStr) -> Option<String> {
    let text = program.to_str()?;
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
    pub(super) fn write(&self) -> io::Result<()> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(directory)?;
        let file = temporary::beside(&self.path, self.content.as_bytes(), 0o644)?;
        file.persist(&self.path)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_path_of_the_program_is_quoted_for_systemd() {
        let quoted = |path: &str| quote(path.as_ref());
        assert_eq!(
            quoted("/usr/bin/keyway").as_deref(),
            Some(r#""/usr/bin/keyway""#)
        );
        assert_eq!(
            quoted("/a b/50%/$HOME/keyway").as_deref(),
            Some(r#""/a b/50%%/$HOME/keyway""#)
        );
        for refused in ["/it's", r#"/"q""#, r"/back\slash"] {
            assert_eq!(quoted(refused), None);
        }
        assert_eq!(quoted("/a\nExecStart=b"), None);
        assert_eq!(quoted("/a\u{7f}"), None);
    }

    #[test]
    fn both_commands_of_the_service_run_the_given_program() {
        let units = units(Path::new("/c"), Path::new("/opt/k w")).unwrap();
        let [socket, service] = &units;
        assert_eq!(socket.path, Path::new("/c/systemd/user/keyway.socket"));
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
