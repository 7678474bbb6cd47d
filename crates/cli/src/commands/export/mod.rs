//! `keyway export`: writes secrets with their values, for leaving Keyway or for another machine.

mod format;
mod names;
mod quote;
mod secrets;

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use clap::Args;
use keyway_secrets::Pattern;

pub(super) use self::format::{Format, write};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::output;
use crate::store::StoreOptions;
use crate::temporary;

/// The end of the help of `keyway export`.
const HELP: &str = "\
The name of a variable is its id without what the pattern says literally: `shop/stripe-key` is STRIPE_KEY for `shop/**`, and \
SHOP_STRIPE_KEY without a pattern. A comment above each variable has its id, from which `keyway import` restores it. A value that \
the format cannot hold is an error, and nothing is written.";

/// Options of `keyway export`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct Options {
    /// Which secrets: `*` is one component, `**` any number of them.
    #[arg(default_value = "**", value_parser = crate::names::pattern)]
    pattern: Pattern,
    /// The format of the output.
    #[arg(long, value_enum, default_value_t = Format::Dotenv)]
    format: Format,
    /// Write to this new file, which only its owner can read. Default: stdout.
    #[arg(short, long, value_name = "OUT")]
    out: Option<PathBuf>,
    /// Write values to a terminal, too.
    #[arg(long, conflicts_with = "out")]
    show: bool,
    #[command(flatten)]
    store: StoreOptions,
}

/// Writes the secrets that match, or nothing.
pub(crate) fn run(globals: &Globals, options: &Options) -> Result<Exit, Failure> {
    if options.out.is_none() && !options.show && io::stdout().is_terminal() {
        return Err(Failure::usage(
            "an export has the values of secrets, and stdout is a terminal",
            "Write it to a file with -o, redirect stdout, or give --show",
        ));
    }
    if let Some(out) = &options.out {
        check_absent(out)?;
    }
    let format = if globals.json {
        Format::Json
    } else {
        options.format
    };
    let pattern = &options.pattern;
    let secrets = secrets::read(globals, pattern, &options.store)?;
    let text = write(format, &secrets, names::n_literal(pattern)).map_err(|errors| {
        Failure::error(
            "some secrets do not fit into this format",
            "Nothing was written; export them with --format shell or --format json, or another pattern",
        )
        .with_details(errors)
    })?;
    match &options.out {
        None => output::print(&text),
        Some(out) => {
            create(out, &text).map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => exists(),
                // The text of the error may hold the path.
                kind => Failure::error(
                    format_args!("OUT cannot be written: {kind}"),
                    "Check that its directory exists, that you may write in it, and that its disk has space",
                ),
            })?;
            let secrets = output::count(secrets.len(), "secret");
            output::note(format_args!(
                "wrote {secrets} with their values; remove the file when it is no longer needed"
            ));
            Ok(Exit::Done)
        }
    }
}

fn check_absent(out: &Path) -> Result<(), Failure> {
    match out.symlink_metadata() {
        Ok(_) => Err(exists()),
        Err(_) => Ok(()),
    }
}

fn exists() -> Failure {
    Failure::error(
        "OUT exists, and an export replaces no file",
        "Nothing was written; name a new file, or remove that one",
    )
}

/// Creates a file that only its owner can read, with all of its content or not at all.
fn create(out: &Path, text: &[u8]) -> io::Result<()> {
    let file = temporary::beside(out, text, 0o600)?;
    file.persist_noclobber(out).map_err(|error| error.error)?;
    Ok(())
}
