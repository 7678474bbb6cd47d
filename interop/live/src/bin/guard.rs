//! The demo access-control module as a plugin process.

use std::process::ExitCode;

fn main() -> ExitCode {
    keyway_plugin_sdk::run_access_control(keyway_interop::Guard)
}
