//! `keyway completions`: the completions of a shell, and the candidates for a word, which their scripts request.

mod arguments;
mod candidates;
mod lookup;

use std::ffi::OsString;

use clap::{Args, Command};
use clap_complete::Shell;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::output;

/// The end of the help of `keyway completions`.
const HELP: &str = "\
In bash, zsh and fish the completions have the ids of secrets and the names of plugins, too. They come from the running daemon; if \
it does not respond at once, there are none. No provider prompts, and no value is read. Behind `--` of `keyway run` the \
completions are those of its command.";

/// Options of `keyway completions`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct Options {
    /// The shell that is to read them.
    shell: Shell,
    /// The words of a command line up to the cursor, the last of which is completed: prints what it can become, for the scripts.
    #[arg(last = true, hide = true, value_name = "WORD")]
    words: Vec<OsString>,
}

/// Prints the completion script of a shell, or the candidates for the last word.
pub(crate) fn run(
    _globals: &Globals,
    options: &Options,
    mut definition: Command,
) -> Result<Exit, Failure> {
    if !options.words.is_empty() {
        let completion = candidates::complete(definition, &options.words);
        return output::print(&completion.lines(options.shell));
    }
    let script = match options.shell {
        Shell::Bash => include_bytes!("scripts/keyway.bash").to_vec(),
        Shell::Fish => include_bytes!("scripts/keyway.fish").to_vec(),
        Shell::Zsh => include_bytes!("scripts/keyway.zsh").to_vec(),
        shell => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut definition, "keyway", &mut script);
            script
        }
    };
    output::print(&script)
}
