//! A launched plugin that plays a recording. The environment says which, how it
//! is cut, and where to write what came of it.

use std::process::ExitCode;

fn main() -> ExitCode {
    keyway_replay::launched::run()
}
