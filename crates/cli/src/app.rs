//! From the command line to the exit code.

use std::env;
use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::Cli;
use crate::{bundled, commands, process, usage};

/// Runs the command that the process was started with.
pub(crate) fn run() -> ExitCode {
    if let Some(exit) = bundled::run_if_asked() {
        return exit;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage::answer(&error, env::args_os().skip(1)).report(),
    };
    let outcome = process::forbid_core_dumps().and_then(|()| commands::run(cli.command));
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => failure.report(),
    }
}
