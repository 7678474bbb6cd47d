//! `keyway inject`: replaces the references in a template by secrets.

mod output;
mod template;

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use self::output::Output;
use self::template::Template;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::input::{self, ReadFileError};
use crate::output::{json, print_text};

/// The end of the help of `keyway inject`.
const HELP: &str = "\
References are `se://ID`, `{{se://ID}}` where text follows that an id could have, and `se://PATTERN` for the only secret that \
matches. `{{se://}}` is the text `se://`. A value is inserted as it is: nothing is quoted or percent-encoded for its place. Nothing \
is written unless every reference is resolved.";

/// Options of `keyway inject`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct Options {
    /// The template; `-` is stdin.
    #[arg(value_name = "FILE")]
    template: PathBuf,
    /// Write the result to this file, which only its owner can read; it replaces the file at once. Default: stdout.
    #[arg(short, long, value_name = "OUT")]
    out: Option<PathBuf>,
    /// Write to the target of OUT if it is a symbolic link.
    #[arg(long, requires = "out")]
    follow_link: bool,
}

/// Writes the template with all references replaced, or nothing.
pub(crate) fn run(globals: &Globals, options: &Options) -> Result<Exit, Failure> {
    let output = match &options.out {
        None => None,
        Some(path) if path.as_os_str() == input::STDIN => None,
        Some(path) => Some(Output::new(path, options.follow_link)?),
    };
    let text = input::read_file(&options.template).map_err(|error| cannot_read(&error))?;
    let template = Template::parse(text.expose())?;
    template.note_lookalikes();
    let wanted = template.wanted();
    let result = template.render(&wanted.resolve(globals, "nothing was written", None)?);
    match output {
        None => crate::output::print(&result),
        Some(output) => {
            output.write(&result)?;
            report(globals, wanted.n_references())
        }
    }
}

/// The output of `--json` with `-o`; without that option the output is the result itself.
#[derive(Debug, Serialize)]
struct Written {
    /// Number of different references that were replaced.
    references: usize,
}

/// Reports that the result was written; without `--json` the exit code does.
fn report(globals: &Globals, references: usize) -> Result<Exit, Failure> {
    match globals.json {
        true => print_text(json::line(&Written { references })),
        false => Ok(Exit::Done),
    }
}

fn cannot_read(error: &ReadFileError) -> Failure {
    // A path that does not exist may be a secret in the wrong place.
    let template = match &error.label {
        Some(label) => format!("the template {label}"),
        None => "the template".to_owned(),
    };
    Failure::usage(
        format_args!("{template} cannot be read: {}", error.cause),
        "Nothing was written; name a file that exists and that you may read, or `-` for stdin",
    )
}
