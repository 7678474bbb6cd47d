//! The demo provider as a plugin process.

use std::process::ExitCode;

fn main() -> ExitCode {
    // The big value is there before anybody asks for it.
    keyway_interop::demo_value("demo/big");
    keyway_plugin_sdk::run(keyway_interop::Demo)
}
