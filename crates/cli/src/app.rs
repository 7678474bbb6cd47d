//! Parses the command line, runs the command and returns the exit code.

use std::env;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

use crate::cli::Cli;
use crate::{builtin, help, message, process, stdio, usage};

/// Runs the command that the process was started with.
pub(crate) fn run() -> ExitCode {
    if let Some(exit) = builtin::run_if_launched() {
        return exit;
    }
    stdio::keep_closed();
    let cli = match parse() {
        Ok(cli) => cli,
        Err(error) => {
            let arguments: Vec<_> = env::args_os().skip(1).collect();
            if usage::has_json(&arguments) {
                message::use_json();
            }
            return usage::explain(&error, &arguments).report();
        }
    };
    if cli.globals.json {
        message::use_json();
    }
    let outcome = process::forbid_core_dumps().and_then(|()| cli.command.run(&cli.globals));
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => failure.report(),
    }
}

/// Parses the arguments of the process.
fn parse() -> Result<Cli, clap::Error> {
    let matches = help::complete(Cli::command()).try_get_matches()?;
    Cli::from_arg_matches(&matches)
}
