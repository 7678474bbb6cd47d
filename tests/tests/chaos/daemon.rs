//! The daemon under test: the program that is shipped.

use keyway_test_support::{Daemon, Home};

/// Starts the daemon of a home, with the configuration `config.toml` there.
pub(crate) fn start(home: &Home) -> Daemon {
    let mut command = home.command(keyway_interop::keyway());
    command.args(home.serve_args());
    command.arg("--config").arg(home.join("config.toml"));
    Daemon::start(&mut command)
}
