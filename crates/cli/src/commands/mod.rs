//! One module for each command: what it takes, and what it does.

pub(crate) mod completions;
pub(crate) mod get;
pub(crate) mod ls;
pub(crate) mod plugins;
pub(crate) mod rm;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod set;
pub(crate) mod version;

use crate::cli::Command;
use crate::exit::Exit;
use crate::failure::Failure;

/// Does what the command line says.
pub(crate) fn run(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Serve(options) => serve::run(&options),
        Command::Get(options) => get::run(&options),
        Command::Ls(options) => ls::run(&options),
        Command::Run(options) => run::run(&options),
        Command::Plugins(options) => plugins::run(&options),
        Command::Set(options) => set::run(&options),
        Command::Rm(options) => rm::run(&options),
        Command::Version(options) => version::run(&options),
        Command::Completions(options) => completions::run(&options),
    }
}
