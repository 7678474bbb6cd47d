//! An argument may be a secret that the user typed in the wrong place, so no message repeats an argument.

use std::process::Output;

use keyway_test_support::{feed, text};

use crate::support::{Home, script};

/// Texts in place of secrets. Neither is a valid id, as most secrets are not.
const CANARIES: [&str; 2] = ["not/a=real token!", "notarealtoken="];

/// A command as its help describes it.
pub(crate) struct Command {
    pub(crate) words: Vec<String>,
    /// Options of its own that take a value.
    options: Vec<String>,
    /// Number of arguments.
    n_places: usize,
}

/// The command of these words and all its subcommands.
pub(crate) fn commands(home: &Home, words: &[String]) -> Vec<Command> {
    let mut line = words.to_vec();
    line.push("--help".to_owned());
    let help = text(&feed(&mut home.keyway(&line), b"").stdout);
    let mut command = Command {
        words: words.to_vec(),
        options: Vec::new(),
        n_places: 0,
    };
    let mut below = Vec::new();
    let mut section = "";
    for line in help.lines() {
        if !line.starts_with(' ') && line.ends_with(':') {
            section = line;
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let entry = line.trim_start();
        match section {
            "Commands:" if indent == 2 && !entry.starts_with("help ") => {
                let name = entry.split(' ').next().unwrap();
                let words = [words, &[name.to_owned()]].concat();
                below.extend(commands(home, &words));
            }
            "Arguments:" if indent == 2 => command.n_places += 1,
            "Options:" if entry.starts_with('-') && !entry.starts_with("- ") => {
                let option = entry.split("--").nth(1).unwrap();
                let name_len = option.find([' ', ',', '[']).unwrap_or(option.len());
                // `--name <VALUE>` or `--name[=<VALUE>]`.
                if option[name_len..]
                    .trim_start_matches([' ', '[', '='])
                    .starts_with('<')
                {
                    command.options.push(format!("--{}", &option[..name_len]));
                }
            }
            _ => {}
        }
    }
    below.push(command);
    below
}

/// Every command line with the canary in one place that the parser may accept. The unit tests have those that it refuses.
fn lines(command: &Command, canary: &str) -> Vec<Vec<String>> {
    let place = || "web/token".to_owned();
    let places: Vec<String> = (0..command.n_places).map(|_| place()).collect();
    let mut tails = Vec::new();
    for at in 0..places.len() {
        let mut places = places.clone();
        places[at] = canary.to_owned();
        tails.push(places);
    }
    if command.n_places > 0 {
        tails.push(vec!["--".to_owned(), canary.to_owned()]);
    }
    let options = command.options.iter().map(String::as_str);
    for option in options.chain(["--socket"]) {
        tails.push([&[format!("{option}={canary}")], places.as_slice()].concat());
    }
    let tails = tails.into_iter();
    tails
        .map(|tail| [command.words.as_slice(), &tail].concat())
        .collect()
}

fn check(line: &[String], output: &Output, canary: &str) {
    let printed = text(&output.stdout) + &text(&output.stderr);
    let parts: Vec<&str> = canary.split(['=', '/', ' ']).collect();
    for part in parts
        .into_iter()
        .filter(|part| part.len() > 4)
        .chain([canary])
    {
        assert!(!printed.contains(part), "{line:?}: {printed}");
    }
}

#[test]
fn no_command_repeats_an_argument() {
    let home = Home::new();
    let all = commands(&home, &[]);
    assert!(
        all.iter()
            .any(|command| command.words == ["plugins", "enable"])
    );
    assert!(
        all.iter()
            .any(|command| command.options.contains(&"--env-file".to_owned()))
    );
    assert!(
        all.iter()
            .any(|command| command.options.contains(&"--generate".to_owned()))
    );
    let mut n_lines = 0;
    for has_daemon in [false, true] {
        let _daemon = has_daemon.then(|| script::serve(&home));
        for command in &all {
            // A daemon that starts would run until the end of the test.
            if command.words.first().is_some_and(|word| word == "serve") {
                continue;
            }
            for canary in CANARIES {
                for line in lines(command, canary) {
                    let output = feed(&mut home.keyway(&line), b"dummy");
                    check(&line, &output, canary);
                    n_lines += 1;
                }
            }
        }
    }
    assert!(n_lines > 200, "{n_lines}");
}

#[test]
fn serve_does_not_repeat_an_invalid_argument() {
    let home = Home::new();
    let canary = CANARIES[0];
    for line in [
        vec!["serve", canary],
        vec!["serve", "--", canary],
        vec!["serve", "--canary", canary],
        vec!["serve", "--log-format", canary],
        vec!["serve", "--timeout", canary],
        vec!["serve", "--config=x", canary],
    ] {
        let line: Vec<String> = line.into_iter().map(ToOwned::to_owned).collect();
        let output = feed(&mut home.keyway(&line), b"");
        assert_eq!(output.status.code(), Some(2));
        check(&line, &output, canary);
    }
}
