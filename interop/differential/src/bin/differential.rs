//! `differential`: campaigns of any length, and single scripts.

use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    keyway_differential::command::run()
}
