//! The reference of the commands, which is their help.

use std::fmt::Write as _;

use keyway_test_support::{feed, text};

use super::BOOK;
use crate::support::Home;

const HEAD: &str = "# Commands

<!-- Written by `INSTA_UPDATE=always cargo test -p keyway --test cli book::commands` from the help of each command; do not edit. -->

What `keyway COMMAND --help` prints. [Running programs](running.md), [Reading and storing](storing.md) and [Plugins](plugins.md) explain the
commands with examples, and [Exit codes](exit-codes.md) are the same for all. The global options are accepted before and after
each command.
";

/// The help of a command, without the options that every command has.
fn help(home: &Home, command: &[String]) -> String {
    let mut keyway = home.keyway(command);
    let output = feed(keyway.arg("--help").env("COLUMNS", "100"), b"");
    assert!(output.status.success(), "{command:?}");
    let help = text(&output.stdout);
    if command.is_empty() {
        return help;
    }
    let paragraphs = help.split("\n\n");
    let mut is_global = false;
    let own = paragraphs.filter(|paragraph| {
        // Descriptions of options may be paragraphs of their own, and are indented.
        is_global =
            paragraph.starts_with("Global options:") || is_global && paragraph.starts_with(' ');
        !is_global
    });
    own.collect::<Vec<_>>().join("\n\n")
}

/// The names in the list of commands.
fn commands(help: &str) -> impl Iterator<Item = String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let entries = lines.take_while(|line| line.starts_with("  "));
    entries.filter_map(|entry| {
        let name = entry.strip_prefix("  ")?.split(' ').next()?;
        (!name.is_empty() && name != "help").then(|| name.to_owned())
    })
}

fn push(page: &mut String, home: &Home, command: &[String]) {
    let help = help(home, command);
    let name = [&["keyway".to_owned()], command].concat().join(" ");
    write!(page, "\n## {name}\n\n```text\n{}\n```\n", help.trim_end()).unwrap();
    for subcommand in commands(&help) {
        push(page, home, &[command, &[subcommand]].concat());
    }
}

#[test]
fn the_reference_of_commands_is_their_help() {
    let home = Home::new();
    let mut page = HEAD.to_owned();
    push(&mut page, &home, &[]);
    let path = format!("{BOOK}/reference/commands.md");
    if std::env::var_os("INSTA_UPDATE").is_some_and(|value| value == "always") {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    assert!(
        written == page,
        "the help has changed: run this test with INSTA_UPDATE=always"
    );
}
