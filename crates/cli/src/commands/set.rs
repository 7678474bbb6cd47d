//! `keyway set`: stores a value from stdin, a file, a hidden prompt or a random generator.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use clap::Args;
use keyway_plugin_file::{Expected, MAX_VALUE_LEN};
use keyway_secrets::{Id, SecretValue};
use serde::Serialize;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::generate::{self, DEFAULT_LEN};
use crate::globals::Globals;
use crate::input;
use crate::names;
use crate::output::{self, json};
use crate::prompt::{self, PromptError};
use crate::stdio::Stdin;
use crate::store::{self, Destination, StoreOptions, Writer};

/// Options of `keyway set`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The secret's id, such as `web/token`.
    #[arg(value_parser = names::id)]
    id: Id,
    /// The provider that stores it [default: `[store] default` of the daemon, else `file`].
    #[arg(long, value_name = "PROVIDER", value_parser = names::provider, conflicts_with = "store")]
    to: Option<String>,
    /// Store a random value of LEN letters, digits, `-` and `_`; it is not printed [default LEN: 32].
    #[arg(long, value_name = "LEN", num_args = 0..=1, require_equals = true, default_missing_value = DEFAULT_LEN,
        value_parser = generate::length, conflicts_with_all = ["from_file", "trim"])]
    generate: Option<usize>,
    /// Store the content of this file, which stays as it is.
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
    /// Remove the line breaks at the end of the value.
    #[arg(long)]
    trim: bool,
    /// Store an empty value too.
    #[arg(long)]
    allow_empty: bool,
    /// Store it although another provider's value would be returned instead.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    store: StoreOptions,
}

/// A value, and where it comes from.
struct Input {
    value: SecretValue,
    origin: Origin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Prompt,
    Stdin,
    File,
    Generated,
}

/// Stores the value byte for byte, or trimmed with `--trim`.
pub(crate) fn run(globals: &Globals, options: &Options) -> Result<Exit, Failure> {
    let id = &options.id;
    let destination = Destination {
        store: &options.store,
        provider: options.to.as_deref(),
        force: options.force,
    };
    store::check_id(id)?;
    let mut writer = Writer::open(globals, destination)?;
    let Input { mut value, origin } = read_input(options)?;
    if options.trim {
        value = trim_line_breaks(&value);
    }
    if value.is_empty() && !options.allow_empty {
        return Err(empty(id, origin));
    }
    let written = writer.set(id, &value, &Expected::Any)?;
    if matches!(origin, Origin::Stdin | Origin::File) && value.expose().ends_with(b"\n") {
        output::note(
            "the value ends with a line break, which is stored too; `--trim` stores it without, and `printf %s` writes none",
        );
    }
    if origin != Origin::Generated && is_quoted(&value) {
        output::note(
            "the value begins and ends with quotation marks, which are stored too; store it without if they are not a part of it",
        );
    }
    if globals.json {
        return output::print_text(json::line(&Stored {
            id: id.as_str(),
            version: &written.version,
            bytes: value.len(),
            provider: &written.provider,
        }));
    }
    output::print_text(format_args!(
        "stored {id} (version {}, {}) in {}\n",
        written.version,
        output::count(value.len(), "byte"),
        written.place
    ))
}

/// The output of `--json`.
#[derive(Debug, Serialize)]
struct Stored<'a> {
    id: &'a str,
    version: &'a str,
    bytes: usize,
    provider: &'a str,
}

/// Returns the failure of an empty value, such as that of a pipe whose writer failed.
fn empty(id: &Id, origin: Origin) -> Failure {
    let what = match origin {
        Origin::Prompt => "no value was entered",
        Origin::File => "the file is empty",
        _ => "the value is empty, as when the command that should write it failed",
    };
    Failure::error(
        what,
        format_args!("Nothing was stored; `keyway set {id} --allow-empty` stores an empty value"),
    )
}

/// Reads the value from where the options say.
fn read_input(options: &Options) -> Result<Input, Failure> {
    let (value, origin) = match (options.generate, &options.from_file) {
        (Some(len), _) => (generate(len)?, Origin::Generated),
        (None, Some(path)) => (read_file(path)?, Origin::File),
        (None, None) if io::stdin().is_terminal() => (prompt_value(&options.id)?, Origin::Prompt),
        (None, None) => (read_stdin()?, Origin::Stdin),
    };
    Ok(Input { value, origin })
}

fn generate(len: usize) -> Result<SecretValue, Failure> {
    generate::value(len).map_err(|error| {
        Failure::error(
            format_args!("the system gives no random numbers: {error}"),
            "Nothing was stored; try again",
        )
    })
}

/// Reads the file. Its name is not repeated, because an argument may be a secret in the wrong place.
fn read_file(path: &Path) -> Result<SecretValue, Failure> {
    let unreadable = |error: io::Error| {
        Failure::error(
            format_args!("the file of --from-file cannot be read: {error}"),
            "Nothing was stored; name a file that you may read",
        )
    };
    let mut file = File::open(path).map_err(unreadable)?;
    input::read_secret(&mut file, MAX_VALUE_LEN).map_err(|error| match error {
        input::ReadSecretError::TooLong => too_long("the file has"),
        input::ReadSecretError::Io(error) => unreadable(error),
    })
}

fn read_stdin() -> Result<SecretValue, Failure> {
    input::read_secret(&mut Stdin, MAX_VALUE_LEN).map_err(|error| match error {
        input::ReadSecretError::TooLong => too_long("the value on stdin has"),
        input::ReadSecretError::Io(error) => Failure::error(
            format_args!("stdin cannot be read: {error}"),
            "Nothing was stored; pipe the value in, as in `printf %s VALUE-FROM-SOMEWHERE | keyway set ID`",
        ),
    })
}

fn too_long(what: &str) -> Failure {
    Failure::error(
        format_args!("{what} more than the {MAX_VALUE_LEN} bytes that a secret may have"),
        "Nothing was stored; keep large data elsewhere, and only its key here",
    )
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

/// Returns whether the value is in quotation marks, as in a line copied from an env file.
fn is_quoted(value: &SecretValue) -> bool {
    let bytes = value.expose().trim_ascii_end();
    let is_pair = |mark: u8| bytes.first() == Some(&mark) && bytes.last() == Some(&mark);
    bytes.len() >= 2 && (is_pair(b'"') || is_pair(b'\''))
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
    fn quotation_marks_are_a_pair_around_the_value() {
        for text in ["\"a\"", "'a b'\n", "\"\""] {
            assert!(is_quoted(&text.into()), "{text}");
        }
        for text in ["", "\"", "a\"", "\"a'", "it's"] {
            assert!(!is_quoted(&text.into()), "{text}");
        }
    }

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
