//! Completions in the shells themselves, on a terminal.

use std::fs;
use std::time::Instant;

use keyway_test_support::scripted::ScriptedDaemon;
use keyway_test_support::{WAIT_LIMIT, require, set_mode};

use crate::support::{Home, KEYWAY, Terminal, script};

/// A shell, how it is started without the files of its user, and what it reads at the start.
struct Shell {
    name: &'static str,
    options: &'static [&'static str],
    setup: &'static str,
}

const BASH: Shell = Shell {
    name: "bash",
    options: &["--norc", "--noprofile", "-i"],
    setup: "source <(keyway completions bash)",
};

const ZSH: Shell = Shell {
    name: "zsh",
    options: &["-f", "-i"],
    setup: "autoload -Uz compinit; compinit -u -D; source <(keyway completions zsh)",
};

const FISH: Shell = Shell {
    name: "fish",
    options: &["--no-config", "--interactive"],
    setup: "keyway completions fish | source",
};

/// The input before Tab, and the arguments that the program then gets.
const COMPLETED: &[(&str, &str)] = &[
    ("get web/to", "<get><web/token>"),
    ("get web/", "<get><web>"),
    ("get se://web/to", "<get><se://web/token>"),
    ("get 'se://web/to", "<get><se://web/token>"),
    ("get --json a:", "<get><--json><a:b/c:d>"),
    ("mv web/token a", "<mv><web/token><a:b/c:d>"),
    ("run --file NPMRC=web/to", "<run><--file><NPMRC=web/token>"),
    ("plugins disable va", "<plugins><disable><vault>"),
    ("set --to va", "<set><--to><vault>"),
    ("plugins dis", "<plugins><disable>"),
    ("get --expl", "<get><--explain>"),
    ("--no-ask stat", "<--no-ask><status>"),
    ("serve --log-format js", "<serve><--log-format><json>"),
    ("inject with", "<inject><with space.env>"),
    ("run --env-file nodea", "<run><--env-file><nodeapp.env>"),
    ("run --env-file=nodea", "<run><--env-file=nodeapp.env>"),
    ("set web/x --store fold", "<set><web/x><--store><folder>"),
    ("run ", "<run><-->"),
    ("run -- unusual", "<run><--><unusual-program>"),
    ("run -- cat nodea", "<run><--><cat><nodeapp.env>"),
    (
        "run --mask -- cat -n nodea",
        "<run><--mask><--><cat><-n><nodeapp.env>",
    ),
    ("get nothing/li", "<get><nothing/li>"),
];

/// A home whose `keyway` prints its arguments, except that it completes.
fn home() -> Home {
    let home = Home::new();
    let keyway = format!(
        "#!/bin/sh\ncase $1 in\ncompletions) shift; exec {KEYWAY} completions \"$@\" ;;\nesac\nprintf 'arguments:'; printf '<%s>' \"$@\"; echo ':end'\n"
    );
    for (name, content) in [
        ("bin/keyway", keyway.as_str()),
        ("bin/unusual-program", "#!/bin/sh\n"),
        ("nodeapp.env", ""),
        ("with space.env", ""),
        ("folder/file", ""),
    ] {
        set_mode(&home.write(name, content), 0o755);
    }
    home
}

/// Starts the shell with its completions.
fn start(home: &Home, shell: &Shell) -> Terminal {
    let mut command = home.command(shell.name);
    command
        .args(shell.options)
        .env("PATH", home.search_path())
        .env("HISTFILE", "/dev/null")
        .env("TERM", "dumb")
        .env("PS1", "ready> ");
    let mut terminal = Terminal::start(&command);
    terminal.press(&format!("{}; echo set\"\"up\n", shell.setup));
    terminal.expect("setup");
    terminal
}

/// Types the line and Tab, and returns the arguments with which the program is then run.
fn arguments(terminal: &mut Terminal, typed: &str) -> String {
    terminal.press(&format!("keyway {typed}\t\n"));
    terminal.expect("arguments:");
    // Zsh removes the slash of a directory when the line is accepted.
    terminal.read_until(":end").replace("/>", ">")
}

/// Checks every line in one shell. A look-up that a busy machine cuts off at its limit is done again.
fn check(shell: &Shell) {
    if !require::has_program(shell.name) {
        return;
    }
    let home = home();
    let _daemon: ScriptedDaemon = script::serve(&home);
    let mut terminal = start(&home, shell);
    for (typed, expected) in COMPLETED {
        let started = Instant::now();
        loop {
            let found = arguments(&mut terminal, typed);
            if found == *expected {
                break;
            }
            assert!(
                started.elapsed() < WAIT_LIMIT,
                "{} {typed}: {found}\n{}",
                shell.name,
                terminal.seen()
            );
        }
    }
    assert!(!terminal.seen().contains("dummy"), "{}", terminal.seen());
}

#[test]
fn bash_completes() {
    check(&BASH);
}

#[test]
fn zsh_completes() {
    check(&ZSH);
}

#[test]
fn fish_completes() {
    check(&FISH);
}

#[test]
fn without_a_daemon_nothing_is_completed_and_nothing_printed() {
    for shell in [BASH, ZSH, FISH] {
        if !require::has_program(shell.name) {
            continue;
        }
        let home = home();
        let mut terminal = start(&home, &shell);
        assert_eq!(arguments(&mut terminal, "get web/to"), "<get><web/to>");
        assert_eq!(
            arguments(&mut terminal, "plugins disable va"),
            "<plugins><disable><va>"
        );
        assert!(!terminal.seen().contains("keyway:"), "{}", terminal.seen());
    }
}

#[test]
fn a_daemon_that_does_not_respond_is_not_waited_for() {
    let home = home();
    let _listener = std::os::unix::net::UnixListener::bind(home.socket()).unwrap();
    let started = Instant::now();
    let output = home.run("completions bash -- keyway get web", b"");
    assert_eq!(home.show(&output), "words\n");
    assert!(started.elapsed() < WAIT_LIMIT);
    fs::remove_file(home.socket()).unwrap();
}
