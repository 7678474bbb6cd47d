//! The plugin executable `file`.

use std::process::ExitCode;

fn main() -> ExitCode {
    keyway_plugin_file::run()
}
