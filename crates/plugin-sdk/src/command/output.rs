//! The result of a program.

use std::collections::HashSet;
use std::fmt;
use std::process::ExitStatus;

use keyway_local::{escape_untrusted, shortened};
use keyway_secrets::SecretValue;

use super::CommandError;

/// Limit for the part of a line of standard error that is examined, in bytes.
const MAX_LINE_LEN: usize = 1024;
/// Limit for the part of a line of standard error that is logged, in characters.
const LOGGED_LEN: usize = 200;
/// A line of standard error is not logged if a run of so many bytes of it occurs in standard input or output too.
const SHARED_RUN: usize = 4;
/// Length of standard input or output beyond which no line is compared with it, and none is logged.
const MAX_COMPARED: usize = 64 * 1024;

/// The result of a [`Command`](super::Command).
#[non_exhaustive]
pub struct Output {
    program: String,
    /// The exit status.
    pub status: ExitStatus,
    /// The standard output of the program.
    pub stdout: SecretValue,
    /// The last 16 KiB of the program's standard error, to diagnose its failure. Never put it into an error: it
    /// may contain a value.
    pub stderr: SecretValue,
}

/// Shows no output.
impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output")
            .field("program", &self.program)
            .field("status", &self.status)
            .field("stdout", &self.stdout)
            .finish_non_exhaustive()
    }
}

impl Output {
    pub(super) fn new(
        program: &str,
        status: ExitStatus,
        stdout: SecretValue,
        stderr: SecretValue,
    ) -> Self {
        Self {
            program: program.to_owned(),
            status,
            stdout,
            stderr,
        }
    }

    /// Returns this output if the exit status is 0.
    ///
    /// # Errors
    ///
    /// Returns [`CommandError::Status`] with the status otherwise.
    pub fn require_success(self) -> Result<Self, CommandError> {
        if self.status.success() {
            return Ok(self);
        }
        Err(CommandError::Status {
            program: self.program,
            status: self.status,
        })
    }

    /// Returns the first line of standard output, without its line break.
    #[must_use]
    pub fn first_line(&self) -> SecretValue {
        let stdout = self.stdout.expose();
        let line = stdout.split(|byte| *byte == b'\n').next();
        line.unwrap_or_default().into()
    }

    /// Returns standard output without one line break at its end.
    #[must_use]
    pub fn trimmed(&self) -> SecretValue {
        let stdout = self.stdout.expose();
        stdout.strip_suffix(b"\n").unwrap_or(stdout).into()
    }

    /// Returns `true` if standard error contains a text, which tells one failure of a program from another.
    #[must_use]
    pub fn stderr_contains(&self, text: &str) -> bool {
        let text = text.as_bytes();
        text.is_empty()
            || self
                .stderr
                .expose()
                .windows(text.len())
                .any(|window| window == text)
    }

    /// Logs the status of a program that failed, and the last line of its standard error.
    pub(super) fn log_failure(&self, request: &str, input: &SecretValue) {
        if !self.status.success() {
            let (program, status) = (&self.program, self.status);
            let stderr = self.last_line(input).unwrap_or_default();
            tracing::debug!(%program, %status, %stderr, request, "command failed");
        }
    }

    /// Returns the last line of standard error for the log; `None` if it may contain a part of standard input or output.
    fn last_line(&self, input: &SecretValue) -> Option<String> {
        let stderr = self.stderr.expose().trim_ascii_end();
        let line = stderr.rsplit(|byte| *byte == b'\n').next()?;
        let line = &line[..line.len().min(MAX_LINE_LEN)];
        let runs: HashSet<&[u8]> = line.windows(SHARED_RUN).collect();
        let is_shared = |value: &SecretValue| {
            value.len() > MAX_COMPARED
                || value
                    .expose()
                    .windows(SHARED_RUN)
                    .any(|run| runs.contains(run))
        };
        if is_shared(&self.stdout) || is_shared(input) {
            return None;
        }
        let text = escape_untrusted(&String::from_utf8_lossy(line));
        Some(shortened(&text, LOGGED_LEN))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;
    use crate::{ErrorKind, ProviderError};

    fn output(code: i32, stdout: &str, stderr: &str) -> Output {
        let status = ExitStatus::from_raw(code << 8);
        Output::new("vault", status, stdout.into(), stderr.into())
    }

    #[test]
    fn lines_are_cut_from_standard_output() {
        let value = |value: SecretValue| String::from_utf8(value.into_bytes()).unwrap();
        let found = output(0, "one\ntwo\n\n", "");
        assert_eq!(value(found.first_line()), "one");
        assert_eq!(value(found.trimmed()), "one\ntwo\n");
        let empty = output(0, "", "");
        assert_eq!(value(empty.first_line()), "");
        assert_eq!(value(empty.trimmed()), "");
    }

    #[test]
    fn a_failure_is_an_error_without_output() {
        let failed = output(3, "canary-value", "canary: it is locked\n");
        assert!(failed.stderr_contains("it is locked") && !failed.stderr_contains("No secret key"));
        assert!(!format!("{failed:?}").contains("canary"));
        let error = ProviderError::from(failed.require_success().unwrap_err());
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(error.message(), "`vault` ended with exit status 3");
        let not_found = output(127, "", "").require_success().unwrap_err();
        assert_eq!(
            not_found.to_string(),
            "`vault` ended with exit status 127: a program was not found"
        );
        output(0, "", "warning\n").require_success().unwrap();
    }

    #[test]
    fn a_failure_is_logged_at_debug_without_standard_input_and_output() {
        let log = |found: &Output| {
            let lines = crate::log::capture::CapturedLines::start("debug");
            found.log_failure("00aa", &SecretValue::from("password"));
            lines.get()
        };
        assert_eq!(log(&output(0, "", "warning\n")), Vec::<String>::new());
        let line = |stderr: &str| {
            format!(
                "DEBUG keyway_plugin_sdk::command::output: command failed program=vault status=exit status: 2 stderr={stderr} request=\"00aa\"\n"
            )
        };
        let locked = output(2, "canary", "first\n\u{1b}[1mit is locked\n\n");
        assert_eq!(log(&locked), [line("it is locked")]);
        for stderr in ["cannot decode \"a canary\"", "wrong password: pass"] {
            assert_eq!(log(&output(2, "canary", stderr)), [line("")]);
        }
        let long = output(2, "", &"x".repeat(300));
        assert!(log(&long)[0].contains(&format!("stderr={}… request", "x".repeat(199))));
    }
}
