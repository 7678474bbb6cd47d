//! The programs of both sides, for the live interop tests.
//!
//! [`go_programs`] builds the Go peers of `interop/go`. Without Go the test is skipped, unless `KEYWAY_REQUIRE_ALL=1` makes that a
//! failure. [`Home`] is a temporary home, [`Daemon`] a `keyway serve` in it, [`Peer`] a Go program with its report.

#![forbid(unsafe_code)]

mod daemon;
mod demo;
mod guard;
mod peer;
mod programs;

use std::path::Path;

use keyway_test_support::Process;

pub use daemon::Daemon;
pub use demo::{Demo, value as demo_value};
pub use guard::Guard;
pub use keyway_test_support::Home;
pub use peer::{Peer, Report};
pub use programs::{GoPrograms, go_programs, keyway, rust_program};

/// Starts an external plugin, which connects to the daemon of a home by itself. Its standard error is `plugin.log`.
///
/// # Panics
///
/// Panics if it cannot be started.
pub fn start_external(home: &Home, executable: impl AsRef<Path>) -> Process {
    Process::spawn(home.command(executable).stderr(home.log("plugin")))
}

/// Runs a test on one thread, as a plugin process does, for at most ten minutes.
///
/// # Panics
///
/// Panics if the test does not end in time.
pub fn block_on(test: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let limit = std::time::Duration::from_secs(600);
        let ended = tokio::time::timeout(limit, test).await;
        ended.expect("the test ends within ten minutes");
    });
}
