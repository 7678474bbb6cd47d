//! What a wrong command line is answered with.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

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
        let failure = match self {
            Self::Asked(text) => match output::print_text(text) {
                Ok(exit) => return exit.into(),
                Err(failure) => return failure.report(),
            },
            Self::Wrong(failure) => failure,
        };
        failure.report()
    }
}

/// The answer to what the parser could not take.
pub(crate) fn answer(error: &clap::Error) -> Answer {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            Answer::Asked(error.render().to_string())
        }
        _ => Answer::Wrong(Failure::usage(what(error), advice(error))),
    }
}

/// One sentence of what is wrong.
///
/// An argument that nobody asked for is not repeated: it may be a value that was meant for `keyway set`, and what is on
/// stderr ends in logs.
fn what(error: &clap::Error) -> String {
    let text = |kind| error.get(kind).map(ToString::to_string);
    let argument = text(ContextKind::InvalidArg).unwrap_or_default();
    let value = text(ContextKind::InvalidValue).unwrap_or_default();
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let name = text(ContextKind::InvalidSubcommand).unwrap_or_default();
            format!("`{name}` is not a command of keyway")
        }
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            "no command was given".to_owned()
        }
        ErrorKind::MissingRequiredArgument => format!("{argument} is missing"),
        ErrorKind::UnknownArgument if argument.starts_with('-') => {
            let flag = argument.split('=').next().unwrap_or_default();
            format!("there is no option `{flag}`")
        }
        ErrorKind::UnknownArgument => "there is an argument too many".to_owned(),
        ErrorKind::ArgumentConflict => {
            let prior = text(ContextKind::PriorArg).unwrap_or_default();
            match prior == argument {
                true => format!("`{argument}` is given twice"),
                false => format!("`{argument}` and `{prior}` do not go together"),
            }
        }
        ErrorKind::InvalidValue if value.is_empty() => format!("`{argument}` needs a value"),
        ErrorKind::InvalidValue => format!("`{value}` is no {argument}"),
        ErrorKind::ValueValidation => {
            let reason = std::error::Error::source(error).map(ToString::to_string);
            format!(
                "`{value}` is no valid {argument}: {}",
                reason.unwrap_or_default()
            )
        }
        ErrorKind::InvalidUtf8 => "an argument is not UTF-8".to_owned(),
        _ => {
            let rendered = error.render().to_string();
            let first = rendered.lines().next().unwrap_or_default();
            first.trim_start_matches("error: ").to_owned()
        }
    }
}

/// One sentence of what to do.
fn advice(error: &clap::Error) -> String {
    let mut advice = String::new();
    let suggested = [
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedArg,
        ContextKind::SuggestedValue,
        ContextKind::ValidValue,
    ]
    .into_iter()
    .find_map(|kind| list(error.get(kind)?));
    if let Some(suggested) = suggested {
        advice = format!("Try {suggested}, or run ");
    } else {
        advice.push_str("Run ");
    }
    let _ = write!(advice, "`{} --help` to see what it takes", command(error));
    advice
}

/// The words `a`, `b` or `c`.
fn list(value: &ContextValue) -> Option<String> {
    let words = match value {
        ContextValue::String(word) => vec![word.clone()],
        ContextValue::Strings(words) => words.clone(),
        _ => return None,
    };
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    let (last, rest) = quoted.split_last()?;
    Some(match rest {
        [] => last.clone(),
        _ => format!("{} or {last}", rest.join(", ")),
    })
}

/// The command whose help says more: `keyway`, or `keyway set`.
fn command(error: &clap::Error) -> String {
    let usage = error.get(ContextKind::Usage).map(ToString::to_string);
    let words = usage.as_deref().unwrap_or_default().split_whitespace();
    words
        .skip_while(|word| *word != "keyway")
        .take_while(|word| word.chars().all(|c| c.is_ascii_lowercase()))
        .collect::<Vec<_>>()
        .join(" ")
}
