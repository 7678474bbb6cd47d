//! A launched plugin that plays a recording. The environment names the recording, its cut, and the file for the result.

use std::process::ExitCode;

fn main() -> ExitCode {
    keyway_replay::launched::run()
}
