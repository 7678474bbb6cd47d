//! No message of the parser repeats an argument, which may be a secret that the user typed in the wrong place.

use std::ffi::OsString;

use clap::CommandFactory as _;

use super::{Usage, explain};
use crate::cli::Cli;
use crate::help;

/// Texts in place of secrets. Neither is a valid id, as most secrets are not.
const CANARIES: [&str; 2] = ["not/a=real token!", "notarealtoken="];

/// A command with the words that name it.
struct Known {
    words: Vec<String>,
    command: clap::Command,
}

/// Returns the command and all its subcommands.
fn known(words: Vec<String>, command: &clap::Command) -> Vec<Known> {
    let below = command.get_subcommands().flat_map(|command| {
        let name = command.get_name().to_owned();
        known([words.as_slice(), &[name]].concat(), command)
    });
    let mut all: Vec<_> = below.collect();
    all.push(Known {
        words,
        command: command.clone(),
    });
    all
}

impl Known {
    /// Returns the names of the options that take a value, or of those that take none.
    fn options(&self, take_value: bool) -> Vec<String> {
        let arguments = self.command.get_arguments();
        let options =
            arguments.filter(|argument| argument.get_action().takes_values() == take_value);
        let names = options.filter_map(|argument| argument.get_long());
        names.map(|name| format!("--{name}")).collect()
    }

    /// Returns every command line with the canary in one place.
    fn lines(&self, canary: &str) -> Vec<Vec<String>> {
        let own = |text: &str| text.to_owned();
        let n_places = self.command.get_positionals().count();
        let places = vec![own("web/token"); n_places];
        let mut tails = vec![vec![own("--"), own(canary)]];
        for at in 0..=n_places {
            let mut places = places.clone();
            places.resize(n_places.max(at + 1), own(canary));
            places[at] = own(canary);
            tails.push(places);
        }
        for option in self.options(true) {
            tails.push([&[own(&option), own(canary)], places.as_slice()].concat());
            tails.push([places.as_slice(), &[own(&option), own(canary)]].concat());
        }
        let equal = self.options(true).into_iter().chain(self.options(false));
        let equal = equal.map(|option| format!("{option}={canary}"));
        let unknown = [
            format!("--{canary}"),
            format!("--x={canary}"),
            format!("-x{canary}"),
        ];
        for word in equal.chain(unknown) {
            tails.push([places.as_slice(), &[word]].concat());
        }
        let words = self.words.as_slice();
        let lines = tails.into_iter().map(|tail| [words, &tail].concat());
        // Before the command, too.
        let before = [&[own(canary)], words, &places].concat();
        lines.chain([before]).collect()
    }
}

/// Returns the message of the parser; `None` if it accepts the command line.
fn message(parser: &clap::Command, line: &[String]) -> Option<String> {
    let arguments: Vec<OsString> = line.iter().map(OsString::from).collect();
    let program = OsString::from("keyway");
    let all = [&program].into_iter().chain(&arguments);
    let error = parser.clone().try_get_matches_from(all).err()?;
    Some(match explain(&error, &arguments) {
        Usage::Help(text) => text,
        Usage::Invalid(failure) => failure.to_string(),
    })
}

/// What the commands print of arguments that the parser accepts is tested with the program.
#[test]
fn no_message_of_the_parser_repeats_an_argument() {
    let mut parser = help::complete(Cli::command());
    parser.build();
    let all = known(Vec::new(), &parser);
    let has = |words: &[&str]| all.iter().any(|known| known.words == words);
    assert!(has(&["plugins", "enable"]) && has(&["serve"]));
    let mut n_refused = 0;
    for known in &all {
        for canary in CANARIES {
            let parts = canary.split(['=', '/', ' ']).filter(|part| part.len() > 4);
            let parts: Vec<_> = parts.chain([canary]).collect();
            for line in known.lines(canary) {
                let Some(message) = message(&parser, &line) else {
                    continue;
                };
                n_refused += 1;
                let repeated = parts.iter().find(|part| message.contains(**part));
                assert_eq!(repeated, None, "{line:?}: {message}");
            }
        }
    }
    assert!(n_refused > 1000, "{n_refused}");
}
