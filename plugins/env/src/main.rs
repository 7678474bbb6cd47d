//! The plugin executable `env`.

use std::process::ExitCode;

fn main() -> ExitCode {
    keyway_plugin_env::run()
}
