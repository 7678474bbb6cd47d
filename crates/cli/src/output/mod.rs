//! How results become text. Everything that goes to stdout goes through [`print()`].

pub(crate) mod json;
mod table;
mod time;

use std::fmt;
use std::io::{self, Write as _};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::printable::printable;

pub(crate) use table::Table;
pub(crate) use time::rfc3339;

/// Writes to stdout, all of it.
///
/// A reader that has gone, as with `keyway ls | head -1`, has what it wanted: that is no failure.
pub(crate) fn print(bytes: &[u8]) -> Result<Exit, Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(Exit::Done),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Done),
        Err(error) => Err(Failure::error(
            format_args!("stdout cannot be written: {error}"),
            "See to what stdout leads to, for example whether a disk is full",
        )),
    }
}

/// Writes text to stdout.
pub(crate) fn print_text(text: impl fmt::Display) -> Result<Exit, Failure> {
    print(text.to_string().as_bytes())
}

/// Tells something on stderr that is worth knowing and no failure. A sentence without its full stop.
pub(crate) fn note(text: impl fmt::Display) {
    // Where stderr is closed nobody wants to know.
    let _ = writeln!(io::stderr(), "keyway: {}.", printable(&text.to_string()));
}
