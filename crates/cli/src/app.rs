//! From the command line to the exit code.

use std::env;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use crate::cli::{Cli, Command};
use crate::commands::{completions, get, ls, plugins, rm, run, serve, set, version};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::{bundled, process, usage};

/// Runs the command that the process was started with.
pub(crate) fn run() -> ExitCode {
    if let Some(exit) = bundled::run_if_asked() {
        return exit;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage::answer(&error, env::args_os().skip(1)).report(),
    };
    let outcome = process::forbid_core_dumps().and_then(|()| dispatch(cli.command));
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => failure.report(),
    }
}

/// Does what the command line says.
fn dispatch(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Serve(options) => serve::run(&options),
        Command::Get(options) => get::run(&options),
        Command::Ls(options) => ls::run(&options),
        Command::Run(options) => run::run(&options),
        Command::Plugins(options) => plugins::run(&options),
        Command::Set(options) => set::run(&options),
        Command::Rm(options) => rm::run(&options),
        Command::Version(options) => version::run(&options),
        Command::Completions(options) => completions::run(&options, Cli::command()),
    }
}
