//! Help, and failures of an invalid command line.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use strsim::osa_distance;

use crate::cli::Cli;
use crate::failure::Failure;
use crate::output::{self, alternatives};

/// The result of a command line without a command to run.
pub(crate) enum Usage {
    /// Help or the version, for stdout.
    Help(String),
    /// The command line is invalid.
    Invalid(Failure),
}

impl Usage {
    /// Prints the help or the failure, and returns the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        match self {
            Self::Help(text) => match output::print_text(text) {
                Ok(exit) => exit.into(),
                Err(failure) => failure.report(),
            },
            Self::Invalid(failure) => failure.report(),
        }
    }
}

/// Returns whether the arguments of an invalid command line have `--json`. Those behind `--` belong to another program.
pub(crate) fn has_json(arguments: &[OsString]) -> bool {
    let own = arguments.iter().take_while(|argument| *argument != "--");
    own.into_iter().any(|argument| argument == "--json")
}

/// Explains an error of the parser. `arguments` are those without the program's name.
pub(crate) fn explain(error: &clap::Error, arguments: &[OsString]) -> Usage {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        return Usage::Help(error.render().to_string());
    }
    let command = command(arguments);
    let failure = common_mistake(error, &command).unwrap_or_else(|| {
        Failure::usage(
            describe(error, &command, arguments),
            advice(error, &command),
        )
    });
    Usage::Invalid(failure)
}

/// Returns the failure of a common mistake.
fn common_mistake(error: &clap::Error, command: &str) -> Option<Failure> {
    let unknown = match error.kind() {
        ErrorKind::UnknownArgument => context(error, ContextKind::InvalidArg),
        _ => String::new(),
    };
    let invalid = match error.kind() {
        ErrorKind::ValueValidation => context(error, ContextKind::InvalidValue),
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
                "Run `keyway set NAME` and enter it, or pipe it to stdin; the shell's history has it now",
            ))
        }
        "keyway run" if is_value(&unknown) => Some(Failure::usage(
            "the command and its arguments belong after `--`",
            "Write `keyway run [OPTIONS] -- CMD ARGS...`",
        )),
        _ => None,
    }
}

/// Returns one part of the context of a parser error.
fn context(error: &clap::Error, kind: ContextKind) -> String {
    error.get(kind).map(ToString::to_string).unwrap_or_default()
}

/// Returns a sentence about what is invalid.
///
/// No argument is repeated, because it may be a secret in the wrong place and stderr ends in logs. Only the program's own
/// names of options, commands and values are printed.
fn describe(error: &clap::Error, command: &str, arguments: &[OsString]) -> String {
    let argument = name(&context(error, ContextKind::InvalidArg));
    let position = |kind| position(&context(error, kind), arguments);
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let position = position(ContextKind::InvalidSubcommand);
            format!("{position} is not a command of `{command}`")
        }
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            "no command was given".to_owned()
        }
        ErrorKind::MissingRequiredArgument => format!("{argument} is missing"),
        ErrorKind::UnknownArgument if is_option_of(&argument, command) => {
            format!("`{argument}` belongs after `{command}`, not before it")
        }
        ErrorKind::UnknownArgument if argument.starts_with('-') => {
            let position = position(ContextKind::InvalidArg);
            format!("{position} is not an option of `{command}`")
        }
        ErrorKind::UnknownArgument => {
            let position = position(ContextKind::InvalidArg);
            format!("{position} is one too many for `{command}`")
        }
        ErrorKind::ArgumentConflict => match name(&context(error, ContextKind::PriorArg)) {
            prior if prior == argument => format!("`{argument}` is given twice"),
            prior => format!("`{argument}` and `{prior}` do not go together"),
        },
        ErrorKind::InvalidValue if context(error, ContextKind::InvalidValue).is_empty() => {
            format!("`{argument}` needs a value")
        }
        ErrorKind::InvalidValue => format!("{} is not known", describe_argument(&argument)),
        ErrorKind::TooManyValues => format!("`{argument}` takes no value"),
        ErrorKind::ValueValidation => {
            let reason = std::error::Error::source(error).map(ToString::to_string);
            let reason = reason.unwrap_or_default();
            format!("{} is not valid: {reason}", describe_argument(&argument))
        }
        ErrorKind::InvalidUtf8 => "an argument is not UTF-8".to_owned(),
        _ => "the command line cannot be read".to_owned(),
    }
}

/// Returns `true` if `command` has this option, which is then in the wrong place.
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

/// Returns the name of the argument that a value belongs to.
fn describe_argument(argument: &str) -> String {
    match argument.starts_with('-') {
        true => format!("the value of `{argument}`"),
        false => format!("the {argument}"),
    }
}

/// Returns the position of the argument that the parser calls `word`, counted from 1.
fn position(word: &str, arguments: &[OsString]) -> String {
    let is_named = |argument: &OsString| {
        let argument = argument.to_string_lossy();
        let head = argument.split('=').next().unwrap_or_default();
        argument == word || head == word
    };
    match arguments.iter().position(is_named) {
        Some(index) => format!("argument {}", index + 1),
        None => "an argument".to_owned(),
    }
}

/// Returns the name in `<NAME>`, `[NAME]`, `--name <VALUE>` or `--name=value`.
fn name(argument: &str) -> String {
    let word = argument.split([' ', '=']).next().unwrap_or_default();
    let word = word.trim_end_matches("...");
    word.trim_matches(['<', '>', '[', ']']).to_owned()
}

/// Returns a sentence about what to do.
fn advice(error: &clap::Error, command: &str) -> String {
    let commands = || {
        let input = context(error, ContextKind::InvalidSubcommand);
        let mut words = words(error.get(ContextKind::SuggestedSubcommand)?);
        // Only at distance 1, because a user may run a suggestion unread.
        words.retain(|word| osa_distance(&input, word) == 1);
        alternatives(&words)
    };
    let input = context(error, ContextKind::InvalidSubcommand);
    if let Some(hint) = hint(&input).filter(|_| command == "keyway") {
        return hint;
    }
    let suggested = [ContextKind::ValidValue, ContextKind::SuggestedArg]
        .into_iter()
        .find_map(|kind| alternatives(&words(error.get(kind)?)));
    match suggested.or_else(commands) {
        Some(words) => format!("Try {words}, or run `{command} --help` to see what it takes"),
        None => format!("Run `{command} --help` to see what it takes"),
    }
}

/// Returns a hint for the name that other programs give to a command of ours.
fn hint(input: &str) -> Option<String> {
    let command = match input {
        "read" | "show" | "cat" | "view" | "print" | "fetch" => "get",
        "copy" | "clip" => "get --clip",
        "list" | "search" | "find" | "grep" => "ls",
        "insert" | "put" | "add" | "create" | "write" | "store" | "edit" | "update" | "rotate" => {
            "set"
        }
        "delete" | "remove" | "del" | "unset" | "erase" => "rm",
        "rename" | "move" => "mv",
        "history" => "versions",
        "undo" | "undelete" | "rollback" => "restore",
        "generate" | "gen" => "set --generate",
        "migrate" | "load" => "import",
        "scan" => "import --scan",
        "dump" | "save" => "export",
        "render" | "template" => "inject",
        "explain" | "inspect" | "which" => "get --explain",
        "check" | "validate" => "config check",
        "diagnose" => "doctor",
        "exec" | "x" | "env" => "run",
        "start" | "daemon" | "agent" => "serve",
        "plugin" | "providers" => "plugins",
        "trust" | "enable" | "disable" | "reload" => {
            return Some(format!("Run `keyway plugins {input}`"));
        }
        "quit" | "shutdown" | "kill" => "stop",
        "info" | "ps" | "whoami" => "status",
        "systemd" | "autostart" => "service",
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

/// Returns the suggestions of the parser.
fn words(value: &ContextValue) -> Vec<String> {
    match value {
        ContextValue::String(word) => vec![word.clone()],
        ContextValue::Strings(words) => words.clone(),
        _ => Vec::new(),
    }
}

/// Returns the innermost command of the arguments: `keyway`, `keyway set`, `keyway plugins enable`.
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
mod canary;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_skips_options_and_their_values() {
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
    fn hints_name_existing_commands() {
        for input in [
            "read", "copy", "list", "put", "delete", "migrate", "dump", "exec", "start", "plugin",
            "enable", "validate", "which",
        ] {
            let hint = hint(input).unwrap();
            let named = hint.split('`').nth(1).unwrap();
            let words: Vec<_> = named.split(' ').skip(1).map(OsString::from).collect();
            let named = named.split(" --").next().unwrap();
            assert_eq!(command(&words), named, "{input}");
            assert!(words.len() > usize::from(input == "enable"), "{hint}");
        }
        assert_eq!(hint("not-a-real-token"), None);
    }

    #[test]
    fn an_option_of_the_command_is_recognised() {
        assert!(is_option_of("--config", "keyway serve"));
        assert!(!is_option_of("--config", "keyway get") && !is_option_of("x", "keyway serve"));
    }
}
