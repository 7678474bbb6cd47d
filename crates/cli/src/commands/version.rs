//! `keyway version`: which program this is, and which daemon it talks to.

use clap::Args;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;

/// Nothing to choose.
#[derive(Args, Debug)]
pub(crate) struct Options {}

/// Prints our version.
pub(crate) fn run(_options: &Options) -> Result<Exit, Failure> {
    output::print_text(format_args!("keyway {}\n", env!("CARGO_PKG_VERSION")))
}
