//! The candidates for the last word of a command line.

use std::ffi::OsString;
use std::sync::Arc;

use clap::{Command, FromArgMatches as _};
use clap_complete::Shell;
use clap_complete::engine;

use super::arguments::{Native, with_completers};
use super::lookup::Lookup;
use crate::globals::Globals;

/// The completion of a word.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Completion {
    /// Left to the shell.
    Native(Native),
    /// Words, each with a description, which may be empty.
    Words(Vec<(String, String)>),
}

impl Completion {
    /// Returns the lines for the script of a shell: `words` or the name of a native completion, then each word, with its
    /// description behind a tab where the shell shows it.
    pub(super) fn lines(&self, shell: Shell) -> Vec<u8> {
        let mut lines = match self {
            Self::Native(native) => native.name().to_owned(),
            Self::Words(_) => "words".to_owned(),
        };
        let words = match self {
            Self::Native(_) => &[][..],
            Self::Words(words) => words,
        };
        for (word, about) in words {
            lines.push('\n');
            lines.push_str(word);
            if shell != Shell::Bash && !about.is_empty() {
                lines.push('\t');
                lines.push_str(about);
            }
        }
        lines.push('\n');
        lines.into_bytes()
    }
}

/// Completes the last of the words, the first of which is the program. A line that cannot be completed has no words.
pub(super) fn complete(definition: Command, words: &[OsString]) -> Completion {
    let Some((last, before)) = words.split_last() else {
        return Completion::Words(Vec::new());
    };
    let lookup = Lookup::new(globals(definition.clone(), before));
    let mut definition = with_completers(definition, &Arc::new(lookup));
    let directory = std::env::current_dir().ok();
    let index = before.len();
    let completed = engine::complete(&mut definition, words.to_vec(), index, directory.as_deref());
    let candidates = completed.unwrap_or_default().into_iter();
    let candidates = candidates.filter_map(|candidate| {
        let about = candidate.get_help().map(ToString::to_string);
        let about = about.unwrap_or_default();
        let about = about.lines().next().unwrap_or_default().to_owned();
        Some((candidate.get_value().to_str()?.to_owned(), about))
    });
    let is_behind_dashes = before.iter().any(|word| word == "--");
    select(
        candidates.collect(),
        &last.to_string_lossy(),
        is_behind_dashes,
    )
}

/// Selects what is worth showing: options only for a word that begins with a dash, or if there is nothing else.
fn select(candidates: Vec<(String, String)>, word: &str, is_behind_dashes: bool) -> Completion {
    let has = |native: Native| {
        let marker = native.marker();
        let mut values = candidates.iter().map(|(value, _)| value);
        values.any(|value| value.ends_with(&marker))
    };
    if is_behind_dashes && has(Native::Command) {
        return Completion::Native(Native::Command);
    }
    let is_option = word.starts_with('-') && !word.contains('=');
    if !is_option && let Some(native) = Native::VALUES.into_iter().find(|native| has(*native)) {
        return Completion::Native(native);
    }
    let takes_command = has(Native::Command);
    let mut words = candidates;
    words.retain(|(value, _)| !value.contains('\0'));
    if takes_command && "--".starts_with(word) {
        let about = "the command and its arguments follow".to_owned();
        words.insert(0, ("--".to_owned(), about));
        if word.is_empty() {
            words.truncate(1);
        }
    }
    if !word.starts_with('-') && words.iter().any(|(value, _)| !value.starts_with('-')) {
        words.retain(|(value, _)| !value.starts_with('-'));
    }
    Completion::Words(words)
}

/// Returns the global options of an incomplete command line. Those that cannot be read count as absent.
fn globals(definition: Command, words: &[OsString]) -> Globals {
    let matches = definition.ignore_errors(true).try_get_matches_from(words);
    let globals = matches.map(|matches| Globals::from_arg_matches(&matches));
    globals.ok().and_then(Result::ok).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Arg, CommandFactory as _, Parser};

    #[derive(Parser)]
    struct Definition {
        #[command(flatten)]
        globals: Globals,
    }

    fn completed(line: &[&str]) -> String {
        let words: Vec<_> = ["keyway"].iter().chain(line).map(OsString::from).collect();
        let run = Command::new("run")
            .arg(Arg::new("env-file").long("env-file").value_name("FILE"))
            .arg(Arg::new("CMD").value_name("CMD").num_args(1..).last(true));
        let definition = Definition::command().subcommand(run.about("Run a command"));
        let lines = complete(definition, &words).lines(Shell::Zsh);
        String::from_utf8(lines).unwrap()
    }

    #[test]
    fn a_word_becomes_a_command_or_an_option_by_its_beginning() {
        assert_eq!(completed(&["ru"]), "words\nrun\tRun a command\n");
        assert_eq!(completed(&["run", "--env"]), "words\n--env-file\n");
        assert!(completed(&["run", "-"]).contains("--no-ask\t"));
        assert_eq!(completed(&["nonsense", ""]).lines().next(), Some("words"));
    }

    #[test]
    fn files_and_the_command_of_run_are_left_to_the_shell() {
        assert_eq!(completed(&["run", "--env-file", "x"]), "files\n");
        assert_eq!(completed(&["run", "--env-file=x"]), "files\n");
        assert_eq!(completed(&["run", "--", "l"]), "command\n");
        assert_eq!(completed(&["run", "--", "ls", "-l", "--a"]), "command\n");
        assert!(completed(&["run", ""]).starts_with("words\n--\t"));
    }

    #[test]
    fn global_options_are_read_from_an_incomplete_line() {
        let words = ["keyway", "run", "--socket", "/x", "--nonsense"];
        let definition = Definition::command().subcommand(Command::new("run"));
        let read = globals(definition, &words.map(OsString::from));
        assert_eq!(read.sockets().len(), 1);
    }
}
