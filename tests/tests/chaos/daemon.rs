//! The daemon under test: the program that is shipped.

use keyway_test_support::{Daemon, Home};

/// Starts the daemon of a home, with the configuration `config.toml` there.
pub(crate) fn start(home: &Home) -> Daemon {
    let mut command = home.command(keyway_interop::keyway());
    command
        .arg("serve")
        .arg("--config")
        .arg(home.join("config.toml"))
        .arg("--state-dir")
        .arg(home.join("state"))
        .arg("--plugin-dir")
        .arg(home.join("plugins"));
    Daemon::start(&mut command)
}
