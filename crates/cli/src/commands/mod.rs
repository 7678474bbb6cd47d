//! One module for each command: what it takes, and what it does.

pub(crate) mod completions;
pub(crate) mod rm;
pub(crate) mod set;
pub(crate) mod version;

use crate::cli::Command;
use crate::exit::Exit;
use crate::failure::Failure;

/// Does what the command line says.
pub(crate) fn run(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Set(options) => set::run(&options),
        Command::Rm(options) => rm::run(&options),
        Command::Version(options) => version::run(&options),
        Command::Completions(options) => completions::run(&options),
    }
}
