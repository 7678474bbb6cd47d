//! `keyway completions`: what a shell needs to complete our command lines.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;

/// Which shell.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The shell that is to read them.
    shell: Shell,
}

/// Prints the script.
pub(crate) fn run(options: &Options) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "keyway", &mut script);
    output::print(&script)
}
