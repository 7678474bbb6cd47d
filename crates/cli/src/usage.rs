//! What a wrong command line is answered with.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::cli::Cli;
use crate::failure::Failure;
use crate::output;

/// What to tell whoever typed something that is not a command: help that was asked for, or a failure.
pub(crate) enum Answer {
    /// Help or the version, for stdout.
    Asked(String),
    /// What is wrong.
    Wrong(Failure),
}

impl Answer {
    /// Writes the answer and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        match self {
            Self::Asked(text) => match output::print_text(text) {
                Ok(exit) => exit.into(),
                Err(failure) => failure.report(),
            },
            Self::Wrong(failure) => failure.report(),
        }
    }
}

/// The answer to what the parser could not take of `arguments`.
pub(crate) fn answer(error: &clap::Error, arguments: impl Iterator<Item = OsString>) -> Answer {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        return Answer::Asked(error.render().to_string());
    }
    let command = command(arguments);
    let failure = special(error.kind(), &command)
        .unwrap_or_else(|| Failure::usage(what(error), advice(error, &command)));
    Answer::Wrong(failure)
}

/// Mistakes that many will make once.
fn special(kind: ErrorKind, command: &str) -> Option<Failure> {
    match (kind, command) {
        (ErrorKind::UnknownArgument, "keyway set") => Some(Failure::usage(
            "the value does not go on the command line, where other programs could read it",
            "Pipe it to stdin, or run `keyway set ID` in a terminal and type it",
        )),
        (ErrorKind::UnknownArgument, "keyway run") => Some(Failure::usage(
            "the command and its arguments go behind `--`",
            "Write `keyway run [OPTIONS] -- CMD ARGS...`",
        )),
        _ => None,
    }
}

/// One sentence of what is wrong.
///
/// An argument that nobody asked for is not repeated: it may be a secret, and what is on stderr ends in logs.
fn what(error: &clap::Error) -> String {
    let text = |kind| error.get(kind).map(ToString::to_string).unwrap_or_default();
    let argument = name(&text(ContextKind::InvalidArg));
    let value = text(ContextKind::InvalidValue);
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            format!(
                "`{}` is not a command of keyway",
                text(ContextKind::InvalidSubcommand)
            )
        }
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            "no command was given".to_owned()
        }
        ErrorKind::MissingRequiredArgument => format!("{argument} is missing"),
        ErrorKind::UnknownArgument if argument.starts_with('-') => {
            format!("there is no option `{argument}`")
        }
        ErrorKind::UnknownArgument => "there is an argument too many".to_owned(),
        ErrorKind::ArgumentConflict => match name(&text(ContextKind::PriorArg)) {
            prior if prior == argument => format!("`{argument}` is given twice"),
            prior => format!("`{argument}` and `{prior}` do not go together"),
        },
        ErrorKind::InvalidValue if value.is_empty() => format!("`{argument}` needs a value"),
        ErrorKind::InvalidValue => format!("`{value}` is not a {argument}"),
        ErrorKind::ValueValidation => {
            let reason = std::error::Error::source(error).map(ToString::to_string);
            let reason = reason.unwrap_or_default();
            format!("`{value}` is not a valid {argument}: {reason}")
        }
        ErrorKind::InvalidUtf8 => "an argument is not UTF-8".to_owned(),
        _ => {
            let rendered = error.render().to_string();
            let first = rendered.lines().next().unwrap_or_default();
            first.trim_start_matches("error: ").to_owned()
        }
    }
}

/// The name in `<NAME>`, `[NAME]`, `--name <VALUE>` or `--name=value`.
fn name(argument: &str) -> String {
    let word = argument.split([' ', '=']).next().unwrap_or_default();
    let word = word.trim_end_matches("...");
    word.trim_matches(['<', '>', '[', ']']).to_owned()
}

/// One sentence of what to do.
fn advice(error: &clap::Error, command: &str) -> String {
    let suggested = [
        ContextKind::ValidValue,
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedArg,
    ];
    let suggested = suggested
        .into_iter()
        .find_map(|kind| list(error.get(kind)?));
    match suggested {
        Some(words) => format!("Try {words}, or run `{command} --help` to see what it takes"),
        None => format!("Run `{command} --help` to see what it takes"),
    }
}

/// The words `a`, `b` or `c`.
fn list(value: &ContextValue) -> Option<String> {
    let words = match value {
        ContextValue::String(word) => std::slice::from_ref(word),
        ContextValue::Strings(words) => words,
        _ => return None,
    };
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    let (last, rest) = quoted.split_last()?;
    Some(match rest {
        [] => last.clone(),
        _ => format!("{} or {last}", rest.join(", ")),
    })
}

/// The command that the arguments lead to, whose help says more: `keyway`, `keyway set`, `keyway plugins enable`.
fn command(arguments: impl Iterator<Item = OsString>) -> String {
    let mut command = Cli::command();
    let mut path = command.get_name().to_owned();
    for word in arguments {
        let Some(inner) = word.to_str().and_then(|word| command.find_subcommand(word)) else {
            continue;
        };
        path = format!("{path} {}", inner.get_name());
        command = inner.clone();
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_found_among_its_options() {
        let check = |line: &str, expected: &str| {
            assert_eq!(
                command(line.split_whitespace().map(OsString::from)),
                expected
            );
        };
        check("", "keyway");
        check("gett a", "keyway");
        check("set --store x a", "keyway set");
        check("plugins --json enable", "keyway plugins enable");
    }
}
