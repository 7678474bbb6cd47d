//! `keyway set`: stores a value from stdin or a hidden prompt in the file store.

use std::io::{self, IsTerminal as _};

use clap::Args;
use keyway_plugin_file::MAX_VALUE_LEN;
use keyway_secrets::{Id, SecretValue};
use serde::Serialize;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::input;
use crate::names;
use crate::output::{self, json};
use crate::prompt::{self, PromptError};
use crate::stdio::Stdin;
use crate::store::StoreOptions;

/// Options of `keyway set`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The secret's id, such as `web/token`.
    #[arg(value_parser = names::id)]
    id: Id,
    /// Remove the line breaks at the end of the value.
    #[arg(long)]
    trim: bool,
    /// Store an empty value too.
    #[arg(long)]
    allow_empty: bool,
    #[command(flatten)]
    store: StoreOptions,
}

/// Stores the value byte for byte, or trimmed with `--trim`.
pub(crate) fn run(globals: &Globals, options: &Options) -> Result<Exit, Failure> {
    let id = &options.id;
    if keyway_runtime::is_reserved(id) {
        return Err(reserved(id));
    }
    let store = options.store.open()?;
    let (mut value, is_prompted) = read_value(id)?;
    if options.trim {
        value = trim_line_breaks(&value);
    }
    if value.is_empty() && !options.allow_empty {
        return Err(empty(id, is_prompted));
    }
    let version = store
        .set(id, &value)
        .map_err(|error| options.store.failure(&error))?;
    if !is_prompted && value.expose().ends_with(b"\n") {
        output::note(
            "the value ends with a line break, which is stored too; `--trim` stores it without, and `printf %s` writes none",
        );
    }
    if globals.json {
        return output::print_text(json::line(&Stored {
            id: id.as_str(),
            version: version.number,
            bytes: version.len,
        }));
    }
    let bytes = if version.len == 1 { "byte" } else { "bytes" };
    output::print_text(format_args!(
        "stored {id} (version {}, {} {bytes}) in {}\n",
        version.number,
        version.len,
        options.store.display_dir(&store)
    ))
}

/// The output of `--json`.
#[derive(Debug, Serialize)]
struct Stored<'a> {
    id: &'a str,
    version: u64,
    bytes: u64,
}

/// Returns the failure of a reserved id, which daemons never resolve.
fn reserved(id: &Id) -> Failure {
    Failure::usage(
        format_args!(
            "the id {id} is reserved: the daemon uses the ids below it for access control of its own management"
        ),
        "Nothing was stored; choose another id",
    )
}

/// Returns the failure of an empty value, such as that of a pipe whose writer failed.
fn empty(id: &Id, is_prompted: bool) -> Failure {
    let what = match is_prompted {
        true => "no value was entered",
        false => "the value is empty, as when the command that should write it failed",
    };
    Failure::error(
        what,
        format_args!("Nothing was stored; `keyway set {id} --allow-empty` stores an empty value"),
    )
}

/// Reads the value. The flag is `true` if it comes from the prompt.
fn read_value(id: &Id) -> Result<(SecretValue, bool), Failure> {
    if io::stdin().is_terminal() {
        return Ok((prompt_value(id)?, true));
    }
    let value = input::read_secret(&mut Stdin, MAX_VALUE_LEN).map_err(|error| match error {
        input::ReadSecretError::TooLong => Failure::error(
            format_args!("the value on stdin has more than the {MAX_VALUE_LEN} bytes that the store takes"),
            "Nothing was stored; keep large data elsewhere, and only its key here",
        ),
        input::ReadSecretError::Io(error) => Failure::error(
            format_args!("stdin cannot be read: {error}"),
            "Nothing was stored; pipe the value in, as in `printf %s VALUE-FROM-SOMEWHERE | keyway set ID`",
        ),
    })?;
    Ok((value, false))
}

fn prompt_value(id: &Id) -> Result<SecretValue, Failure> {
    let value = prompt::hidden(&format!("Value of {id} (not shown): "));
    value.map_err(|error| match error {
        PromptError::SeveralLines => Failure::error(
            "more than one line was entered or pasted",
            format_args!("Nothing was stored; put it into a file and run `keyway set {id} <FILE`"),
        ),
        PromptError::StrayKey => Failure::error(
            "a control character or an unsupported editing key was entered",
            format_args!(
                "Nothing was stored; enter the value again, or put it into a file and run `keyway set {id} <FILE`"
            ),
        ),
        PromptError::Io(error) => Failure::error(
            format_args!("the terminal cannot be read: {error}"),
            "Nothing was stored; pipe the value to stdin instead",
        ),
    })
}

/// Returns the value without the line breaks at its end.
fn trim_line_breaks(value: &SecretValue) -> SecretValue {
    let bytes = value.expose();
    let is_break = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let len = bytes.iter().rposition(|byte| !is_break(byte));
    SecretValue::from(&bytes[..len.map_or(0, |last| last + 1)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_line_breaks_at_the_end_are_trimmed() {
        let trimmed = |text: &str| {
            let value = trim_line_breaks(&text.into());
            String::from_utf8(value.expose().to_vec()).unwrap()
        };
        assert_eq!(trimmed(" a\nb \r\n\n"), " a\nb ");
        assert_eq!(trimmed("a"), "a");
        assert_eq!(trimmed("\n\r\n"), "");
        assert_eq!(trimmed(""), "");
    }
}
