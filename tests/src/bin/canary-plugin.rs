//! A provider on the SDK whose one value is the canary of the hygiene tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    keyway_tests::canary::run()
}
