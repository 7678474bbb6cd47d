//! `keyway set`: a value from stdin or a hidden prompt into the file store.

use std::io::{self, IsTerminal as _};

use clap::Args;
use keyway_plugin_file::MAX_VALUE_LEN;
use keyway_secrets::{Id, SecretValue};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::prompt::{self, PromptError};
use crate::store::{self, StoreOptions};
use crate::{input, output};

/// Which secret, and in which store.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The secret's id, such as `web/token`.
    id: Id,
    #[command(flatten)]
    store: StoreOptions,
}

/// Stores the value exactly as it comes and says where.
pub(crate) fn run(options: &Options) -> Result<Exit, Failure> {
    let store = options.store.open()?;
    let (value, typed) = value_of(&options.id)?;
    let version = store
        .set(&options.id, &value)
        .map_err(|error| store::failure(&error))?;
    if let Some(surprise) = surprise(&value).filter(|_| !typed) {
        output::note(surprise);
    }
    let bytes = if version.len == 1 { "byte" } else { "bytes" };
    output::print_text(format_args!(
        "stored {} (version {}, {} {bytes}) in {}\n",
        options.id,
        version.number,
        version.len,
        store.dir().display()
    ))
}

/// The value, and whether a person typed it.
fn value_of(id: &Id) -> Result<(SecretValue, bool), Failure> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Ok((type_value(id)?, true));
    }
    let value = input::read_secret(&mut stdin.lock(), MAX_VALUE_LEN).map_err(|error| match error {
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

fn type_value(id: &Id) -> Result<SecretValue, Failure> {
    let typed = prompt::hidden(&format!("Value of {id} (not shown): "));
    let value = typed.map_err(|error| match error {
        PromptError::SeveralLines => Failure::error(
            "more than one line was typed or pasted",
            format_args!("Nothing was stored; put it into a file and run `keyway set {id} <FILE`"),
        ),
        PromptError::Io(error) => Failure::error(
            format_args!("the terminal cannot be read: {error}"),
            "Nothing was stored; pipe the value to stdin instead",
        ),
    })?;
    if value.is_empty() {
        return Err(Failure::error(
            "no value was typed",
            format_args!("Nothing was stored; `keyway set {id} </dev/null` stores an empty value"),
        ));
    }
    Ok(value)
}

/// What in a piped value is often not meant.
fn surprise(value: &SecretValue) -> Option<&'static str> {
    match value.expose() {
        [] => Some("the value is empty"),
        [.., b'\n'] => {
            Some("the value ends with a line break, which is stored too; `printf %s` writes none")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_end_of_line_and_nothing_at_all_are_surprising() {
        let said = |text: &str| surprise(&text.into());
        assert_eq!(said(""), Some("the value is empty"));
        assert!(said("a\n").is_some_and(|note| note.contains("line break")));
        assert_eq!(said("a\nb"), None);
    }
}
