//! A plugin with the faults that the tests need.

use std::process::ExitCode;

fn main() -> ExitCode {
    keyway_tests::plugin::run()
}
