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

/// The answer to what the parser could not take of `arguments`, which do not hold the program's name.
pub(crate) fn answer(error: &clap::Error, arguments: &[OsString]) -> Answer {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        return Answer::Asked(error.render().to_string());
    }
    let command = command(arguments);
    let failure = special(error, &command).unwrap_or_else(|| {
        Failure::usage(what(error, &command, arguments), advice(error, &command))
    });
    Answer::Wrong(failure)
}

/// Mistakes that many will make once.
fn special(error: &clap::Error, command: &str) -> Option<Failure> {
    let unknown = match error.kind() {
        ErrorKind::UnknownArgument => text(error, ContextKind::InvalidArg),
        _ => String::new(),
    };
    let invalid = match error.kind() {
        ErrorKind::ValueValidation => text(error, ContextKind::InvalidValue),
        _ => String::new(),
    };
    let is_value = |word: &str| !word.is_empty() && !word.starts_with('-');
    match command {
        "keyway set"
            if is_value(&unknown)
                || unknown == "--value"
                || is_value(&invalid) && invalid.contains('=') =>
        {
            Some(Failure::usage(
                "the value does not go on the command line, where other programs could read it",
                "Run `keyway set NAME` and type it, or pipe it to stdin; the shell's history has it now",
            ))
        }
        "keyway run" if is_value(&unknown) => Some(Failure::usage(
            "the command and its arguments go behind `--`",
            "Write `keyway run [OPTIONS] -- CMD ARGS...`",
        )),
        _ => None,
    }
}

/// What the parser says of one side of an error.
fn text(error: &clap::Error, kind: ContextKind) -> String {
    error.get(kind).map(ToString::to_string).unwrap_or_default()
}

/// One sentence of what is wrong.
///
/// No argument is repeated: any of them may be a secret that was typed in the wrong place, and what is on stderr ends in logs.
/// Only what this program itself calls an option, a command or a value is named.
fn what(error: &clap::Error, command: &str, arguments: &[OsString]) -> String {
    let argument = name(&text(error, ContextKind::InvalidArg));
    let place = |kind| place(&text(error, kind), arguments);
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let place = place(ContextKind::InvalidSubcommand);
            format!("{place} is not a command of `{command}`")
        }
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            "no command was given".to_owned()
        }
        ErrorKind::MissingRequiredArgument => format!("{argument} is missing"),
        ErrorKind::UnknownArgument if is_option_of(&argument, command) => {
            format!("`{argument}` goes behind `{command}`, not before it")
        }
        ErrorKind::UnknownArgument if argument.starts_with('-') => {
            let place = place(ContextKind::InvalidArg);
            format!("{place} is not an option of `{command}`")
        }
        ErrorKind::UnknownArgument => {
            let place = place(ContextKind::InvalidArg);
            format!("{place} is one too many for `{command}`")
        }
        ErrorKind::ArgumentConflict => match name(&text(error, ContextKind::PriorArg)) {
            prior if prior == argument => format!("`{argument}` is given twice"),
            prior => format!("`{argument}` and `{prior}` do not go together"),
        },
        ErrorKind::InvalidValue if text(error, ContextKind::InvalidValue).is_empty() => {
            format!("`{argument}` needs a value")
        }
        ErrorKind::InvalidValue => format!("{} is not known", of_argument(&argument)),
        ErrorKind::TooManyValues => format!("`{argument}` takes no value"),
        ErrorKind::ValueValidation => {
            let reason = std::error::Error::source(error).map(ToString::to_string);
            let reason = reason.unwrap_or_default();
            format!("{} is not valid: {reason}", of_argument(&argument))
        }
        ErrorKind::InvalidUtf8 => "an argument is not UTF-8".to_owned(),
        _ => "the command line cannot be read".to_owned(),
    }
}

/// Whether the command that was meant takes this option, which then stands in the wrong place.
fn is_option_of(argument: &str, command: &str) -> bool {
    let mut found = Cli::command();
    for word in command.split(' ').skip(1) {
        let Some(inner) = found.find_subcommand(word).cloned() else {
            return false;
        };
        found = inner;
    }
    let long = argument.strip_prefix("--");
    long.is_some() && found.get_arguments().any(|known| known.get_long() == long)
}

/// What a value was given for: an option, or a place in the command line.
fn of_argument(argument: &str) -> String {
    match argument.starts_with('-') {
        true => format!("the value of `{argument}`"),
        false => format!("the {argument}"),
    }
}

/// Which argument it is that the parser calls `word`, counted from 1.
fn place(word: &str, arguments: &[OsString]) -> String {
    let is_meant = |argument: &OsString| {
        let argument = argument.to_string_lossy();
        let head = argument.split('=').next().unwrap_or_default();
        argument == word || head == word
    };
    match arguments.iter().position(is_meant) {
        Some(index) => format!("argument {}", index + 1),
        None => "an argument".to_owned(),
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
    let commands = || {
        let typed = text(error, ContextKind::InvalidSubcommand);
        let mut words = words(error.get(ContextKind::SuggestedSubcommand)?);
        words.retain(|word| is_slip(&typed, word));
        list(&words)
    };
    let typed = text(error, ContextKind::InvalidSubcommand);
    if let Some(hint) = hint(&typed).filter(|_| command == "keyway") {
        return hint;
    }
    let suggested = [ContextKind::ValidValue, ContextKind::SuggestedArg]
        .into_iter()
        .find_map(|kind| list(&words(error.get(kind)?)));
    match suggested.or_else(commands) {
        Some(words) => format!("Try {words}, or run `{command} --help` to see what it takes"),
        None => format!("Run `{command} --help` to see what it takes"),
    }
}

/// What does here what a command of this name does elsewhere.
fn hint(typed: &str) -> Option<String> {
    let command = match typed {
        "read" | "show" | "cat" | "view" => "get",
        "list" | "search" | "find" => "ls",
        "insert" | "put" | "add" | "create" | "write" | "store" => "set",
        "delete" | "remove" | "del" | "unset" => "rm",
        "exec" | "x" | "env" => "run",
        "start" | "daemon" | "agent" => "serve",
        "plugin" | "providers" => "plugins",
        "trust" | "enable" | "disable" | "reload" => {
            return Some(format!("Run `keyway plugins {typed}`"));
        }
        "stop" | "quit" => {
            return Some(
                "Stop the daemon with Ctrl-C or with `kill` and its process id".to_owned(),
            );
        }
        "status" | "doctor" => {
            return Some(
                "Run `keyway plugins` and `keyway config` to see how things are".to_owned(),
            );
        }
        "logs" | "log" => {
            return Some("The daemon logs to its standard error, which systemd keeps for `journalctl --user`".to_owned());
        }
        "login" | "unlock" | "init" | "setup" => {
            return Some("None is needed: start the daemon with `keyway serve`".to_owned());
        }
        _ => return None,
    };
    Some(format!(
        "Try `keyway {command}`, or run `keyway --help` to see what there is"
    ))
}

/// The words that the parser suggests.
fn words(value: &ContextValue) -> Vec<String> {
    match value {
        ContextValue::String(word) => vec![word.clone()],
        ContextValue::Strings(words) => words.clone(),
        _ => Vec::new(),
    }
}

/// The words as `a`, `b` or `c`.
fn list(words: &[String]) -> Option<String> {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    let (last, rest) = quoted.split_last()?;
    Some(match rest {
        [] => last.clone(),
        _ => format!("{} or {last}", rest.join(", ")),
    })
}

/// Whether one slip of the fingers makes `word` of what was typed: a character too many, one too few, another one, or two in
/// the other order. A command is suggested only then: following a suggestion runs it.
fn is_slip(typed: &str, word: &str) -> bool {
    let (typed, word): (Vec<char>, Vec<char>) = (typed.chars().collect(), word.chars().collect());
    let n_equal = typed.iter().zip(&word).take_while(|(a, b)| a == b).count();
    let (typed, word) = (&typed[n_equal..], &word[n_equal..]);
    match (typed, word) {
        ([_, typed @ ..], word) if typed == word => true,
        (typed, [_, word @ ..]) if typed == word => true,
        ([_, typed @ ..], [_, word @ ..]) if typed == word => true,
        ([a, b, typed @ ..], [c, d, word @ ..]) => (a, b) == (d, c) && typed == word,
        _ => false,
    }
}

/// The command that the arguments lead to, whose help says more: `keyway`, `keyway set`, `keyway plugins enable`.
fn command(arguments: &[OsString]) -> String {
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
            let arguments: Vec<_> = line.split_whitespace().map(OsString::from).collect();
            assert_eq!(command(&arguments), expected);
        };
        check("", "keyway");
        check("gett a", "keyway");
        check("set --store x a", "keyway set");
        check("plugins --json enable", "keyway plugins enable");
        check("--socket x set", "keyway set");
    }

    #[test]
    fn hints_name_commands_that_exist() {
        for typed in [
            "read", "list", "put", "delete", "exec", "start", "plugin", "enable",
        ] {
            let hint = hint(typed).unwrap();
            let named = hint.split('`').nth(1).unwrap();
            let words: Vec<_> = named.split(' ').skip(1).map(OsString::from).collect();
            assert_eq!(command(&words), named, "{typed}");
            assert!(words.len() > usize::from(typed == "enable"), "{hint}");
        }
        assert_eq!(hint("not-a-real-token"), None);
    }

    #[test]
    fn an_option_of_the_command_is_known_as_one() {
        assert!(is_option_of("--config", "keyway serve"));
        assert!(!is_option_of("--config", "keyway get") && !is_option_of("x", "keyway serve"));
    }

    #[test]
    fn only_a_slip_of_the_fingers_is_corrected() {
        for typed in ["gett", "ge", "gat", "egt", "gte"] {
            assert!(is_slip(typed, "get"), "{typed}");
        }
        for typed in ["stop", "g", "got it", ""] {
            assert!(!is_slip(typed, "get"), "{typed}");
        }
        assert!(!is_slip("stop", "set") && !is_slip("restore", "serve"));
    }
}
