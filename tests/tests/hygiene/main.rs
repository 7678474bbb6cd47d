//! A value is where its caller wanted it and nowhere else: not in logs at every level, errors, records, `/proc` or core files, and not
//! readable in the memory of the daemon and its plugins. A binary of its own, because it captures the log of its process.

mod evidence;
mod inspection;
mod traces;

use std::path::{Path, PathBuf};

use keyway_test_support::{Daemon, Home, set_mode};

const PLUGIN: &str = env!("CARGO_BIN_EXE_misbehaving-plugin");
const CANARY_PLUGIN: &str = env!("CARGO_BIN_EXE_canary-plugin");

/// Puts the program into a home, which any user can reach where the build directory may be closed to them, and the canary's plugin.
fn prepare(home: &Home) -> PathBuf {
    home.install(CANARY_PLUGIN, "vault");
    let keyway = home.join("keyway");
    keyway_test_support::copy_executable(keyway_interop::keyway(), &keyway);
    set_mode(&keyway, 0o755);
    keyway
}

/// Starts the daemon of a home with a log of every level. `wrapper` is empty, or a program with arguments that executes it.
fn serve(home: &Home, keyway: &Path, wrapper: &[&str]) -> Daemon {
    let mut line = wrapper.iter().map(Path::new).chain([keyway]);
    let mut command = home.command(line.next().expect("a program"));
    command.args(line).args(home.serve_args());
    Daemon::start(command.env("RUST_LOG", "trace"))
}
