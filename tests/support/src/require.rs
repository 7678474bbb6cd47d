//! Requirements of a test for the machine. Without them the test is skipped, or fails if `KEYWAY_REQUIRE_ALL` is `1`, as in CI.

use std::io::Write as _;
use std::process::{Command, Stdio};

/// Returns whether a requirement is met. If it is not, `skipped: needs WHAT` is written to standard error.
///
/// # Panics
///
/// Panics if the requirement is not met and `KEYWAY_REQUIRE_ALL` is `1`.
#[must_use]
#[track_caller]
pub fn has(what: &str, is_met: bool) -> bool {
    if !is_met {
        let is_required = std::env::var_os("KEYWAY_REQUIRE_ALL").is_some_and(|value| value == "1");
        assert!(
            !is_required,
            "needs {what}, and KEYWAY_REQUIRE_ALL=1 allows no skip"
        );
        // Past the test harness, which would hide the line. A closed standard error has no reader.
        let _ = writeln!(std::io::stderr(), "skipped: needs {what}");
    }
    is_met
}

/// Returns whether the tests run as root.
///
/// # Panics
///
/// As [`has`].
#[must_use]
#[track_caller]
pub fn has_root() -> bool {
    has("root", rustix::process::geteuid().is_root())
}

/// Returns whether a program is installed.
///
/// # Panics
///
/// As [`has`].
#[must_use]
#[track_caller]
pub fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_installed = std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    has(name, is_installed)
}

/// Returns whether a command succeeds, for instance one that makes a namespace.
///
/// # Panics
///
/// As [`has`].
#[must_use]
#[track_caller]
pub fn can_run(what: &str, command: &mut Command) -> bool {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    has(what, status.is_ok_and(|status| status.success()))
}
