//! The values of each option and argument.

use std::any::TypeId;
use std::ffi::OsStr;
use std::sync::Arc;

use clap::builder::StyledStr;
use clap::{Arg, Command};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use keyway_local::Address;
use keyway_secrets::{Id, Pattern};

use super::lookup::{Lookup, Named};
use crate::names::SCHEME;

/// A value that the shell completes by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Native {
    /// The command line behind `--`.
    Command,
    Directories,
    Files,
}

impl Native {
    /// The values of options and arguments.
    pub(super) const VALUES: [Self; 2] = [Self::Directories, Self::Files];

    /// Returns the name in the output for the scripts.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Directories => "directories",
            Self::Files => "files",
        }
    }

    /// Returns the text that stands for it among the candidates. No argument can have the zero byte.
    pub(super) fn marker(self) -> String {
        format!("\0{}", self.name())
    }
}

/// Adds to each argument of the definition where its values come from.
pub(super) fn with_completers(definition: Command, lookup: &Arc<Lookup>) -> Command {
    definition
        .mut_args(|argument| with_completer(argument, lookup))
        .mut_subcommands(|command| with_completers(command, lookup))
}

fn with_completer(argument: Arg, lookup: &Arc<Lookup>) -> Arg {
    let is = |id: TypeId| argument.get_value_parser().type_id() == id;
    let names: Vec<&str> = argument
        .get_value_names()
        .unwrap_or_default()
        .iter()
        .map(AsRef::as_ref)
        .collect();
    let lookup = Arc::clone(lookup);
    match names.as_slice() {
        _ if is(TypeId::of::<Id>()) || is(TypeId::of::<Pattern>()) => {
            argument.add(ArgValueCompleter::new(move |word: &OsStr| {
                ids(&lookup, "", word)
            }))
        }
        ["NAME=ID"] => argument.add(ArgValueCompleter::new(move |word: &OsStr| {
            let name_len = word.to_str().and_then(|word| word.find('='));
            let Some((name, id)) = name_len.map(|len| split(word, len + 1)) else {
                return Vec::new();
            };
            ids(&lookup, name, OsStr::new(id))
        })),
        ["PROVIDER" | "NAME"] => argument.add(ArgValueCompleter::new(move |word: &OsStr| {
            candidates("", &lookup.plugins(), word)
        })),
        ["CMD"] => native(argument, Native::Command),
        ["DIR"] => native(argument, Native::Directories),
        ["FILE" | "OUT" | "DIRECTORY"] => native(argument, Native::Files),
        _ if is(TypeId::of::<Address>()) => native(argument, Native::Files),
        _ => argument,
    }
}

fn split(word: &OsStr, at: usize) -> (&str, &str) {
    word.to_str()
        .and_then(|word| word.split_at_checked(at))
        .unwrap_or_default()
}

fn native(argument: Arg, native: Native) -> Arg {
    let marker = move |_: &OsStr| vec![CompletionCandidate::new(native.marker())];
    argument.add(ArgValueCompleter::new(marker))
}

/// Returns the ids that begin as `word` does, behind `prefix`. The word may begin with the scheme of references.
fn ids(lookup: &Lookup, prefix: &str, word: &OsStr) -> Vec<CompletionCandidate> {
    let text = word.to_str().unwrap_or_default();
    let (scheme, id) = match text.strip_prefix(SCHEME) {
        Some(id) => (SCHEME, id),
        None => ("", text),
    };
    candidates(
        &format!("{prefix}{scheme}"),
        &lookup.ids(id),
        OsStr::new(id),
    )
}

/// Returns the names that begin as `word` does, behind `prefix`.
fn candidates(prefix: &str, named: &[Named], word: &OsStr) -> Vec<CompletionCandidate> {
    let word = word.to_str().unwrap_or_default();
    named
        .iter()
        .filter(|named| named.name.starts_with(word))
        .map(|named| {
            let about = Some(&named.about).filter(|about| !about.is_empty());
            CompletionCandidate::new(format!("{prefix}{}", named.name))
                .help(about.map(StyledStr::from))
        })
        .collect()
}
