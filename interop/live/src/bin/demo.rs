//! The demo provider as a plugin process.

use std::process::ExitCode;

fn main() -> ExitCode {
    // The big value is computed before the first query.
    keyway_interop::demo_value("demo/big");
    keyway_plugin_sdk::run(keyway_interop::Demo)
}
