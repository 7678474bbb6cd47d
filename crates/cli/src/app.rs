//! Parses the command line, runs the command and returns the exit code.

use std::env;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use crate::cli::{Cli, Command};
use crate::commands::{
    audit, completions, config, doctor, export, get, import, inject, ls, mv, plugins, restore, rm,
    run, serve, service, set, status, stop, version, versions,
};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::{builtin, process, stdio, usage};

/// Runs the command that the process was started with.
pub(crate) fn run() -> ExitCode {
    if let Some(exit) = builtin::run_if_launched() {
        return exit;
    }
    stdio::keep_closed();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let arguments: Vec<_> = env::args_os().skip(1).collect();
            return usage::explain(&error, &arguments).report();
        }
    };
    let outcome = process::forbid_core_dumps().and_then(|()| dispatch(&cli.globals, cli.command));
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => failure.report(),
    }
}

/// Runs the subcommand.
fn dispatch(globals: &Globals, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Serve(options) => serve::run(&options.with_addresses(globals.sockets())),
        Command::Get(options) => get::run(globals, &options),
        Command::Ls(options) => ls::run(globals, &options),
        Command::Run(options) => run::run(globals, &options),
        Command::Inject(options) => inject::run(globals, &options),
        Command::Plugins(options) => plugins::run(globals, &options),
        Command::Set(options) => set::run(globals, &options),
        Command::Import(options) => import::run(globals, &options),
        Command::Export(options) => export::run(globals, &options),
        Command::Rm(options) => rm::run(globals, &options),
        Command::Audit(options) => audit::run(globals, &options),
        Command::Status => status::run(globals),
        Command::Stop => stop::run(globals),
        Command::Mv(options) => mv::run(globals, &options),
        Command::Versions(options) => versions::run(globals, &options),
        Command::Restore(options) => restore::run(globals, &options),
        Command::Doctor(options) => doctor::run(globals, &options),
        Command::Service(options) => service::run(globals, &options),
        Command::Config(options) => config::run(globals, &options),
        Command::Version => version::run(globals),
        Command::Completions(options) => completions::run(&options, Cli::command()),
    }
}
