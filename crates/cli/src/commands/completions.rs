//! `keyway completions`: shell completions.

use clap::{Args, Command};
use clap_complete::Shell;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::output;

/// Options of `keyway completions`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The shell that is to read them.
    shell: Shell,
}

/// Prints the completion script of a shell.
pub(crate) fn run(
    _globals: &Globals,
    options: &Options,
    mut command_line: Command,
) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut command_line, "keyway", &mut script);
    output::print(&script)
}
