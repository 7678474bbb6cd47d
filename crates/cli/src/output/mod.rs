//! Formats results. All output to stdout goes through [`print()`].

pub(crate) mod json;
mod table;
mod time;
mod width;

use std::fmt;
use std::io;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::stdio;

pub(crate) use crate::message::note;
pub(crate) use table::Table;
pub(crate) use time::rfc3339;
pub(crate) use width::{columns_of, cut};

/// Writes all bytes to stdout.
///
/// A closed pipe, as with `keyway ls | head -1`, is not a failure.
///
/// # Errors
///
/// Returns a [`Failure`] if stdout cannot be written.
pub(crate) fn print(bytes: &[u8]) -> Result<Exit, Failure> {
    match stdio::write_stdout(bytes) {
        Ok(()) => Ok(Exit::Done),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Done),
        Err(error) => Err(Failure::error(
            format_args!("stdout cannot be written: {error}"),
            "Check where stdout is redirected, for example whether a disk is full",
        )),
    }
}

/// Writes text to stdout.
pub(crate) fn print_text(text: impl fmt::Display) -> Result<Exit, Failure> {
    print(text.to_string().as_bytes())
}

/// Formats a number with its noun, whose plural ends with `s`.
pub(crate) fn count(n: usize, noun: &str) -> String {
    let end = if n == 1 { "" } else { "s" };
    format!("{n} {noun}{end}")
}

/// Formats words as `a`, `b` or `c`; `None` without words.
pub(crate) fn alternatives(words: &[impl fmt::Display]) -> Option<String> {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    let (last, others) = quoted.split_last()?;
    Some(match others {
        [] => last.clone(),
        _ => format!("{} or {last}", others.join(", ")),
    })
}

/// Returns a text for the beginning of a sentence.
pub(crate) fn capitalize(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(characters).collect()
}

/// Returns a sentence for the middle of another one.
pub(crate) fn uncapitalize(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|c| c.to_ascii_lowercase());
    first.into_iter().chain(characters).collect()
}
