//! The plugin that is built to misbehave.

use std::process::ExitCode;

fn main() -> ExitCode {
    keyway_tests::plugin::run()
}
