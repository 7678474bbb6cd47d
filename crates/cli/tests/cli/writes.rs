//! The commands that write: through a daemon, and without one.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use keyway_test_support::{feed, text};

use crate::support::{Home, Terminal, script};

/// Runs lines with an input, and returns each with its output.
fn transcript(home: &Home, lines: &[(&str, &str)]) -> String {
    let lines = lines.iter().map(|(line, stdin)| {
        let output = home.run(line, stdin.as_bytes());
        format!(
            "$ printf {stdin:?} | keyway {line}\n{}\n",
            home.show(&output)
        )
    });
    lines.collect()
}

#[test]
fn what_a_daemon_says_of_a_write() {
    let home = Home::new();
    let _daemon = script::serve(&home);
    insta::assert_snapshot!(transcript(
        &home,
        &[
            ("set web/token", "dummy"),
            ("set web/token --json", "dummy"),
            ("set web/token --to vault", "dummy"),
            ("set env/home", "dummy"),
            ("set env/home --force", "dummy"),
            ("set x/locked", "dummy"),
            ("set x/late", "dummy"),
            ("set x/busy", "dummy"),
            ("set x/denied", "dummy"),
            ("set x/reader", "dummy"),
            ("set keyway/write/a", "dummy"),
            ("rm web/token", ""),
            ("rm web/token x/vault --json", ""),
            ("rm x/vault", ""),
            ("rm web/token x/none x/denied", ""),
            ("versions web/token", ""),
            ("versions web/token --json", ""),
            ("versions x/none", ""),
            ("restore web/token 1", ""),
            ("restore web/token 1 --from vault --json", ""),
            ("restore x/none 1", ""),
            ("mv web/token web/other", ""),
            ("mv web/token web/other --json", ""),
            ("mv web/token web/token", ""),
            ("mv web/token x/there", ""),
            ("mv twice/id web/other", ""),
            ("mv web/token x/denied", ""),
            ("mv no/such web/other", ""),
        ]
    ));
}

#[test]
fn without_a_daemon_the_file_store_is_changed_and_a_note_says_so() {
    let home = Home::new();
    let shown = transcript(
        &home,
        &[
            ("set web/token", "dummy-1"),
            ("set web/token --to file", "dummy-2"),
            ("set web/token --to vault", "dummy"),
            ("set web/token --socket nobody", "dummy"),
            ("mv web/token web/other", ""),
            ("mv web/token web/third", ""),
            ("set web/token", "dummy-3"),
            ("mv web/token web/other", ""),
            ("rm web/token web/other web/none", ""),
            ("restore web/token 1", ""),
            ("restore web/token 7", ""),
            ("restore web/token latest", ""),
            ("versions web/none", ""),
        ],
    );
    insta::assert_snapshot!(shown);
}

#[test]
fn a_secret_is_written_moved_removed_and_restored_through_the_daemon() {
    let home = Home::new();
    let daemon = home.serve(&[]);
    let run = |line: &str, stdin: &str| {
        let output = home.run(line, stdin.as_bytes());
        assert!(output.status.success(), "{line}: {}", home.show(&output));
        assert!(!text(&output.stderr).contains("no daemon"), "{line}");
        text(&output.stdout)
    };
    assert_eq!(
        run("set web/token", "dummy-1"),
        "stored web/token (version 1, 7 bytes) in file\n"
    );
    run("set web/token", "dummy-2");
    assert_eq!(run("get web/token", ""), "dummy-2\n");
    assert_eq!(
        run("restore web/token 1", ""),
        "restored web/token in file: version 3 has the value of an earlier one\n"
    );
    assert_eq!(run("get web/token", ""), "dummy-1\n");
    run("mv web/token web/other", "");
    assert_eq!(run("get web/other", ""), "dummy-1\n");
    assert_eq!(home.run("get web/token", b"").status.code(), Some(3));
    run("rm web/other", "");
    assert_eq!(home.run("get web/other", b"").status.code(), Some(3));
    run("restore web/other 1", "");
    assert_eq!(run("get web/other", ""), "dummy-1\n");
    drop(daemon);
}

#[test]
fn a_value_of_the_largest_size_passes_the_daemon() {
    let home = Home::new();
    let _daemon = home.serve(&[]);
    let value: Vec<u8> = (0..8 * 1024 * 1024).map(|n: u32| (n % 251) as u8).collect();
    home.set("large/value", &value);
    let output = home.run("get large/value --value", b"");
    assert!(output.stdout == value, "{}", home.show(&output).len());
}

#[test]
fn each_write_has_a_line_in_the_audit_log_and_no_value() {
    let home = Home::new();
    let audit = home.join("audit.jsonl");
    fs::write(
        home.join("config.toml"),
        format!("audit.path = '{}'", audit.display()),
    )
    .unwrap();
    let config = home.join("config.toml");
    let daemon = home.serve(&["--config", config.to_str().unwrap()]);
    for line in [
        "set web/token",
        "versions web/token",
        "restore web/token 1",
        "rm web/token",
        "rm web/none",
    ] {
        home.run(line, b"canary-value");
    }
    drop(daemon);
    let log = fs::read_to_string(&audit).unwrap();
    assert!(!log.contains("canary"), "{log}");
    let records = log.lines().map(|line| serde_json::from_str(line).unwrap());
    let writes: Vec<(String, String, String)> = records
        .filter(|record: &serde_json::Value| record["request_id"].is_string())
        .map(|record| {
            let text = |field: &serde_json::Value| field.as_str().unwrap_or_default().to_owned();
            (
                text(&record["action"]),
                text(&record["patterns"][0]),
                text(&record["outcome"]) + " " + &text(&record["providers"][0]),
            )
        })
        .collect();
    let expected = [
        ("set", "web/token", "ok file"),
        ("versions", "web/token", "ok file"),
        ("restore", "web/token", "ok file"),
        ("remove", "web/token", "ok file"),
        ("remove", "web/none", "not_found "),
        // For the ids nearest to the one that was not found.
        ("list", "**", "ok "),
    ];
    let expected = expected
        .map(|(action, id, outcome)| (action.to_owned(), id.to_owned(), outcome.to_owned()));
    assert_eq!(writes, expected);
}

#[test]
fn a_file_and_a_generator_are_sources_of_a_value() {
    let home = Home::new();
    fs::write(home.join("key.pem"), b"dummy\nkey\n").unwrap();
    for (line, value) in [
        ("set a/file --from-file key.pem", &b"dummy\nkey\n"[..]),
        ("set a/file --from-file key.pem --trim", b"dummy\nkey"),
    ] {
        let output = home.run(line, b"not read");
        assert!(output.status.success(), "{}", home.show(&output));
        let _daemon = home.serve(&[]);
        assert_eq!(home.run("get a/file --value", b"").stdout, value);
    }
    let generated = |line: &str| {
        let output = feed(&mut home.keyway(line.split(' ')), b"not read");
        assert!(output.status.success(), "{}", home.show(&output));
        let _daemon = home.serve(&[]);
        text(&home.run("get a/random --value", b"").stdout)
    };
    let value = generated("set a/random --generate");
    assert_eq!(value.len(), 32);
    assert!(
        value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    );
    assert_eq!(generated("set a/random --generate=12").len(), 12);
    insta::assert_snapshot!(transcript(
        &home,
        &[
            ("set a/b --generate=7", ""),
            ("set a/b --generate --from-file key.pem", ""),
            ("set a/b --from-file no/such", ""),
            ("set a/b --from-file .", ""),
            ("set a/b --to file --store s", ""),
        ]
    ));
}

/// As after an interruption between the write and the removal.
#[test]
fn a_move_that_was_interrupted_goes_on() {
    let home = Home::new();
    let _daemon = home.serve(&[]);
    home.set("web/old", b"dummy");
    home.set("web/new", b"dummy");
    let output = home.run("mv web/old web/new", b"");
    assert_eq!(
        text(&output.stdout),
        "moved web/old to web/new (version 1) in file\n"
    );
    assert_eq!(home.run("get web/old", b"").status.code(), Some(3));
    home.set("web/old", b"dummy-other");
    let output = home.run("mv web/old web/new", b"");
    assert_eq!(output.status.code(), Some(1), "{}", home.show(&output));
    assert_eq!(text(&home.run("get web/old", b"").stdout), "dummy-other\n");
    assert_eq!(text(&home.run("get web/new", b"").stdout), "dummy\n");
}

#[test]
fn a_removal_asks_at_a_terminal() {
    for (answer, is_removed) in [("n", false), ("", false), ("y", true), ("YES", true)] {
        let home = Home::new();
        home.run("set web/token --store s", b"dummy");
        let mut terminal = Terminal::start(&home.keyway(["rm", "web/token", "--store", "s"]));
        terminal.expect("Remove web/token? [y/N] ");
        terminal.press(&format!("{answer}\n"));
        let (status, screen) = terminal.end();
        assert_eq!(status.success(), is_removed, "{answer}: {screen}");
        let versions = home.run("versions web/token --store s --json", b"");
        let state = if is_removed { "removed" } else { "current" };
        let shown = text(&versions.stdout);
        assert!(shown.contains(&format!("\"state\":\"{state}\"")), "{shown}");
    }
    let home = Home::new();
    home.run("set web/token --store s", b"dummy");
    let command = home.keyway(["rm", "web/token", "--store", "s", "--yes"]);
    let (status, screen) = Terminal::start(&command).end();
    assert!(status.success(), "{screen}");
    assert!(!screen.contains("[y/N]"), "{screen}");
}

#[test]
fn writes_while_reloads_replace_the_process_of_their_provider_are_done() {
    let home = Home::new();
    let configure = |n: u32| home.configure(&format!("plugins.file.env.ROUND = '{n}'"));
    let config = configure(0);
    let daemon = home.serve(&["--config", config.to_str().unwrap()]);
    let are_done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..=5 {
                configure(n);
                let reload = home.run("plugins reload", b"");
                assert!(reload.status.success(), "{}", home.show(&reload));
                let shown = text(&reload.stdout);
                assert!(shown.contains("file"), "{shown}");
            }
            are_done.store(true, Ordering::Relaxed);
        });
        for writer in 0..4 {
            let (home, are_done) = (&home, &are_done);
            scope.spawn(move || {
                for n in 0.. {
                    home.set(&format!("web/{writer}/{n}"), b"dummy");
                    if are_done.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
        }
    });
    let (status, _) = daemon.stop();
    assert!(status.success());
}
