//! The error of a command.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use keyway_local::format_duration;
use rustix::io::Errno;
use tokio::time::Instant;

use crate::ProviderError;
use crate::blocking::describe_stuck;

/// Error of running a [`Command`](super::Command). No variant contains output of the program.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// Reading from the program or waiting for it failed.
    #[error("cannot communicate with `{program}`")]
    Io {
        /// Name of the program.
        program: String,
        /// The error of the system call.
        source: io::Error,
    },
    /// No thread was free to start the program; see [`blocking`](crate::blocking).
    #[error(transparent)]
    NoThread(ProviderError),
    /// The program is not in `PATH`, or its file, its interpreter or the working directory does not exist.
    #[error("cannot start `{program}`: not found")]
    NotFound {
        /// Name of the program.
        program: String,
    },
    /// The program was not started before the deadline: no thread was free to start it, or its file system does not respond.
    #[error("`{program}` was not started within {}", format_duration(*waited))]
    NotStarted {
        /// Name of the program.
        program: String,
        /// The time that was left to start it.
        waited: Duration,
    },
    /// The program could not be started for another reason.
    #[error("cannot start `{program}`")]
    Start {
        /// Name of the program.
        program: String,
        /// The error of the system call.
        source: io::Error,
    },
    /// The program ended without success.
    #[error("`{program}` {}", format_status(*status))]
    Status {
        /// Name of the program.
        program: String,
        /// Its exit status.
        status: ExitStatus,
    },
    /// The program did not end before the deadline and was killed.
    #[error("`{program}` did not end within {}", format_duration(*waited))]
    TimedOut {
        /// Name of the program.
        program: String,
        /// The time that the program had.
        waited: Duration,
    },
    /// The program wrote more than the limit to standard output and was killed.
    #[error("`{program}` wrote more than {limit} bytes")]
    TooMuchOutput {
        /// Name of the program.
        program: String,
        /// The limit in bytes.
        limit: usize,
    },
}

impl CommandError {
    pub(super) fn start(program: String, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound => Self::NotFound { program },
            _ => Self::Start { program, source },
        }
    }

    pub(super) fn timed_out(program: String, started: Instant) -> Self {
        let waited = started.elapsed();
        Self::TimedOut { program, waited }
    }
}

/// Returns why a program could not be started. The kinds of the standard library do not name these reasons.
fn describe_start(error: &io::Error) -> String {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    match errno {
        Some(Errno::AGAIN) => "this user may not have more processes".to_owned(),
        Some(Errno::MFILE | Errno::NFILE) => "too many files are open".to_owned(),
        Some(Errno::NOEXEC) => "not a program of this machine or a script with `#!`".to_owned(),
        _ => error.kind().to_string(),
    }
}

/// Formats an exit status. 126 and 127 are how shells and other wrappers report a program that cannot be executed.
fn format_status(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code @ 126), _) => {
            format!("ended with exit status {code}: a program cannot be executed")
        }
        (Some(code @ 127), _) => {
            format!("ended with exit status {code}: a program was not found")
        }
        (Some(code), _) => format!("ended with exit status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended with an unknown status".to_owned(),
    }
}

/// Converts by the action that a user can take: [`TimedOut`](CommandError::TimedOut) and [`NotStarted`](CommandError::NotStarted) are
/// [`timed_out`](ProviderError::timed_out), too much output and I/O errors are [`internal`](ProviderError::internal), all
/// others are [`unavailable`](ProviderError::unavailable).
impl From<CommandError> for ProviderError {
    fn from(error: CommandError) -> Self {
        let message = error.to_string();
        match error {
            CommandError::Io { source, .. } => {
                Self::internal(format!("{message}: {}", source.kind())).with_source(source)
            }
            CommandError::NoThread(error) => error,
            CommandError::NotFound { .. } | CommandError::Status { .. } => {
                Self::unavailable(message)
            }
            CommandError::Start { source, .. } => {
                Self::unavailable(format!("{message}: {}", describe_start(&source)))
                    .with_source(source)
            }
            CommandError::TimedOut { .. } => Self::timed_out(message),
            CommandError::NotStarted { .. } => {
                Self::timed_out(format!("{message}{}", describe_stuck()))
            }
            CommandError::TooMuchOutput { .. } => Self::internal(message),
        }
    }
}
