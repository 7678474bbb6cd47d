//! What a test needs of the machine: without it the test is skipped, or fails where every test has to run.

use std::path::PathBuf;

/// Whether the test can run. If not, it says `skipped: needs X`.
///
/// # Panics
///
/// If it cannot and `KEYWAY_REQUIRE_ALL` is `1`.
#[must_use]
pub fn has(what: &str, is_met: bool) -> bool {
    if !is_met {
        let is_required = std::env::var_os("KEYWAY_REQUIRE_ALL").is_some_and(|value| value == "1");
        assert!(
            !is_required,
            "needs {what}, and KEYWAY_REQUIRE_ALL=1 allows no skip"
        );
        #[allow(
            clippy::print_stderr,
            reason = "a skip is reported to the reader of the output"
        )]
        {
            eprintln!("skipped: needs {what}");
        }
    }
    is_met
}

/// Whether this is root and the program is installed.
#[must_use]
pub fn has_root_and(program: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    has("root", is_root) && has(program, is_installed(program))
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory: PathBuf| directory.join(program).exists())
}
