//! Why a plugin could not be started.

use std::io;
use std::path::PathBuf;

use crate::config::Sha256;

/// Why a plugin could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The operating system refused to run the file.
    #[error("{path} cannot be run: {source}{}", advice(.source), path = .path.display())]
    Execute {
        /// The executable.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is not the one that was pinned.
    #[error("{path} has the SHA-256 {actual}, but {expected} is pinned: if the new file is wanted, change `sha256` in the configuration, or run `keyway plugins trust` where it is not configured", path = .path.display())]
    Checksum {
        /// The executable.
        path: PathBuf,
        /// What configuration says.
        expected: Sha256,
        /// What the file has.
        actual: Sha256,
    },
    /// A descriptor or process that starting needs could not be had.
    #[error("cannot prepare to start a plugin: {what}: {source}")]
    Prepare {
        /// What was tried.
        what: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// The thread that starts processes has ended, because the daemon is stopping.
    #[error("the daemon is stopping and starts no more plugins")]
    Stopping,
}

/// The next step for the common reasons why a file cannot be run.
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
        _ => "",
    }
}
