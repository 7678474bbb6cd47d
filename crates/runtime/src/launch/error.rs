//! The errors of starting a plugin.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use keyway_local::file::{Offence, Offences, OpenError};

use super::spec::PinnedBy;
use crate::config::Sha256;
use crate::model::PluginName;

/// Error of starting a plugin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The operating system did not run the file.
    #[error("{path} cannot be run{}", advice(.source), path = .path.display())]
    Execute {
        /// The executable.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The file could not be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A step before the execution of the file failed.
    #[error("cannot prepare to start a plugin: {what}")]
    Prepare {
        /// The step.
        what: &'static str,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The file must not run as this plugin.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The thread that starts processes has ended, because the daemon is stopping.
    #[error("the daemon is stopping and starts no more plugins")]
    Stopping,
    /// The file was not read, checked and executed in time.
    #[error("starting {path} took longer than {limit:?}: check its file system", path = .path.display())]
    TimedOut {
        /// The executable.
        path: PathBuf,
        /// The limit.
        limit: Duration,
    },
}

/// The reason why a file must not run as a plugin, until it or the configuration is changed. The text is short enough for a table.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Other users could have written the file.
    #[error("its executable is not trusted")]
    Owners(#[source] Offences),
    /// The file is not the pinned one.
    #[error("its executable is not the one that is pinned: {}", remedy(.name, *.pinned_by))]
    Pin {
        /// The plugin.
        name: PluginName,
        /// The source of the pin.
        pinned_by: PinnedBy,
        /// The pinned checksum.
        expected: Sha256,
        /// The checksum of the file.
        actual: Sha256,
    },
    /// The file is larger than a pinned file may be.
    #[error("its executable has more than {} MiB and cannot be pinned: take back the pin, or make the file smaller", .max_len >> 20)]
    TooLarge {
        /// The limit in bytes.
        max_len: u64,
    },
}

fn remedy(name: &PluginName, pinned_by: PinnedBy) -> String {
    match pinned_by {
        PinnedBy::Configuration => {
            format!("change `sha256` in `[plugins.{name}]` if you replaced it")
        }
        PinnedBy::Trust => format!("run `keyway plugins trust {name}` if you replaced it"),
    }
}

/// The consequence of a failed start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LaunchErrorClass {
    /// The file is open for writing. For longer than a start waits for that, it is the [shortage](Shortage::ClosedFile) of one
    /// that is not.
    Busy,
    /// The plugin failed.
    Failed,
    /// The file must not run; it is not tried again until it or the configuration changes.
    Refused,
    /// The daemon or the machine lacks something; that is not a failure of the plugin.
    Shortage(Shortage),
}

/// The resource of the daemon or the machine that a start lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shortage {
    /// A file that no process has open for writing.
    ClosedFile,
    Descriptors,
    Memory,
    Processes,
}

impl fmt::Display for Shortage {
    /// Writes a sentence for the status of a plugin.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClosedFile => "another process has its executable open for writing",
            Self::Descriptors => "the daemon is short of descriptors",
            Self::Memory => "the machine is short of memory",
            Self::Processes => "the user of the daemon has too many processes",
        })
    }
}

impl LaunchError {
    /// Returns `true` if there is no file at the path. The error of an interpreter that is missing is another one.
    pub(crate) fn is_missing(&self) -> bool {
        match self {
            Self::Open(OpenError::Io { source, .. }) => is_missing(source),
            Self::Refused(Refusal::Owners(offences)) => offences.iter().all(
                |offence| matches!(offence, Offence::Unreadable { source, .. } if is_missing(source)),
            ),
            _ => false,
        }
    }

    /// Returns the consequence of the error.
    pub(crate) fn class(&self) -> LaunchErrorClass {
        match self {
            // A file that could not be examined was not refused.
            Self::Refused(Refusal::Owners(offences)) if offences.iter().all(is_unreadable) => {
                class_of_unreadable(offences.iter())
            }
            Self::Refused(_) => LaunchErrorClass::Refused,
            Self::Execute { source, .. }
            | Self::Prepare { source, .. }
            | Self::Open(OpenError::Io { source, .. }) => class_of(source),
            Self::Open(_) | Self::Stopping | Self::TimedOut { .. } => LaunchErrorClass::Failed,
        }
    }
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// Returns the class of files and folders that could not be examined: a shortage if one of them met one.
fn class_of_unreadable<'a>(offences: impl Iterator<Item = &'a Offence>) -> LaunchErrorClass {
    let classes = offences.filter_map(|offence| match offence {
        Offence::Unreadable { source, .. } => Some(class_of(source)),
        _ => None,
    });
    let mut shortages = classes.filter(|class| matches!(class, LaunchErrorClass::Shortage(_)));
    shortages.next().unwrap_or(LaunchErrorClass::Failed)
}

fn is_unreadable(offence: &Offence) -> bool {
    matches!(offence, Offence::Unreadable { .. })
}

fn class_of(error: &io::Error) -> LaunchErrorClass {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => LaunchErrorClass::Shortage(Shortage::Descriptors),
        Some(libc::ENOMEM) => LaunchErrorClass::Shortage(Shortage::Memory),
        Some(libc::EAGAIN) => LaunchErrorClass::Shortage(Shortage::Processes),
        Some(libc::ETXTBSY) => LaunchErrorClass::Busy,
        _ => LaunchErrorClass::Failed,
    }
}

/// Returns a function that names the step `what` in an error.
pub(super) fn prepare_error<E: Into<io::Error>>(
    what: &'static str,
) -> impl FnOnce(E) -> LaunchError {
    move |source| LaunchError::Prepare {
        what,
        source: source.into(),
    }
}

/// Returns the next step for the common reasons why a file cannot be run.
fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOENT) => {
            " (the file, or the interpreter that its first line names, does not exist)"
        }
        Some(libc::ENOEXEC) => {
            " (it is neither a program for this machine nor a script with a `#!` line)"
        }
        Some(libc::EACCES) => {
            " (it is not executable for us, or lies on a file system mounted `noexec`)"
        }
        Some(libc::ETXTBSY) => " (another process has it open for writing)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The longest message that a refusal may have, without paths.
    const MAX_MESSAGE_LEN: usize = 160;

    fn pin(pinned_by: PinnedBy, name: &str) -> Refusal {
        Refusal::Pin {
            name: name.parse().expect("a name"),
            pinned_by,
            expected: Sha256([1; 32]),
            actual: Sha256([2; 32]),
        }
    }

    #[test]
    fn a_refusal_is_one_short_sentence_with_the_next_step() {
        assert_eq!(
            pin(PinnedBy::Trust, "vault").to_string(),
            "its executable is not the one that is pinned: run `keyway plugins trust vault` if you replaced it"
        );
        assert_eq!(
            pin(PinnedBy::Configuration, "vault").to_string(),
            "its executable is not the one that is pinned: change `sha256` in `[plugins.vault]` if you replaced it"
        );
        let too_large = Refusal::TooLarge { max_len: 256 << 20 };
        assert_eq!(
            too_large.to_string(),
            "its executable has more than 256 MiB and cannot be pinned: take back the pin, or make the file smaller"
        );
        let longest_name = "n".repeat(64);
        for refusal in [
            pin(PinnedBy::Trust, &longest_name),
            pin(PinnedBy::Configuration, &longest_name),
            too_large,
        ] {
            let message = LaunchError::from(refusal).to_string();
            assert!(
                message.len() <= MAX_MESSAGE_LEN,
                "{}: {message}",
                message.len()
            );
        }
    }

    #[test]
    fn the_failure_class_follows_from_the_step_and_the_os_error() {
        let execute = |code| LaunchError::Execute {
            path: "/x".into(),
            source: io::Error::from_raw_os_error(code),
        };
        let prepare = |code| prepare_error("x")(io::Error::from_raw_os_error(code));
        for (code, shortage) in [
            (libc::EMFILE, Shortage::Descriptors),
            (libc::ENFILE, Shortage::Descriptors),
            (libc::ENOMEM, Shortage::Memory),
            (libc::EAGAIN, Shortage::Processes),
        ] {
            let class = LaunchErrorClass::Shortage(shortage);
            assert_eq!(execute(code).class(), class);
            assert_eq!(prepare(code).class(), class);
        }
        assert_eq!(execute(libc::ETXTBSY).class(), LaunchErrorClass::Busy);
        for code in [libc::ENOENT, libc::EACCES, libc::ENOEXEC] {
            assert_eq!(execute(code).class(), LaunchErrorClass::Failed);
        }
        let refused = LaunchError::from(pin(PinnedBy::Trust, "x"));
        assert_eq!(refused.class(), LaunchErrorClass::Refused);
        assert_eq!(LaunchError::Stopping.class(), LaunchErrorClass::Failed);
    }

    #[test]
    fn a_shortage_while_a_file_is_examined_is_not_a_failure_of_the_plugin() {
        let unreadable = |code| Offence::Unreadable {
            path: "/plugins".into(),
            source: io::Error::from_raw_os_error(code),
        };
        for (codes, class) in [
            (
                [libc::ENOENT, libc::ENOMEM],
                LaunchErrorClass::Shortage(Shortage::Memory),
            ),
            (
                [libc::ENFILE, libc::ENOENT],
                LaunchErrorClass::Shortage(Shortage::Descriptors),
            ),
            ([libc::ENOENT, libc::ENOENT], LaunchErrorClass::Failed),
        ] {
            let offences = codes.map(unreadable);
            assert_eq!(class_of_unreadable(offences.iter()), class, "{codes:?}");
        }
    }

    #[test]
    fn owners_are_a_refusal_unless_the_file_vanished() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let owners = |name: &str| {
            let offences = keyway_local::file::check_owners(&directory.path().join(name));
            LaunchError::from(Refusal::Owners(offences.expect_err("refused")))
        };
        assert_eq!(owners("absent").class(), LaunchErrorClass::Failed);
        let path = directory.path().join("shared");
        std::fs::create_dir(&path).expect("a directory");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(&path, mode).expect("the mode");
        assert_eq!(owners("shared").class(), LaunchErrorClass::Refused);
    }
}
