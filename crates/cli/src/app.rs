//! Parses the command line, runs the command and returns the exit code.

use std::env;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};

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

/// Parses the arguments of the process. The examples of the help are built only if it is to be shown.
fn parse() -> Result<Cli, clap::Error> {
    Cli::try_parse().map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp => {
            let shown = help::complete(Cli::command()).try_get_matches();
            shown.err().unwrap_or(error)
        }
        _ => error,
    })
}
