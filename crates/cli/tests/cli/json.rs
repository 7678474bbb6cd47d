//! `--json`: every command has a machine-readable form of its result and of its error.

use std::fs;
use std::process::Output;

use keyway_test_support::{feed, set_mode, text};
use serde_json::Value;

use crate::canary::commands;
use crate::support::{Home, script};

/// Lines that cover every command, each with its exit code beside a daemon.
const LINES: &[(&str, i32)] = &[
    ("get web/token", 0),
    ("get nothing/here", 3),
    ("get web/*", 1),
    ("get denied/id", 4),
    ("get kind/locked", 6),
    ("ls", 0),
    ("ls broken/**", 5),
    ("run --dry-run --env-file app.env -- true", 0),
    ("run --env-file missing.env -- true", 2),
    ("run -- ./missing", 127),
    ("inject app.env -o app.out", 0),
    ("inject missing.env", 2),
    ("set web/token --store s", 0),
    ("set web/token", 0),
    ("versions web/token --store s", 0),
    ("versions web/other --store s", 3),
    ("mv web/token web/moved --store s", 0),
    ("restore web/token 1 --store s", 0),
    ("restore web/token 9 --store s", 3),
    ("store backup keyway.backup --store s", 0),
    ("store backup keyway.backup --store s", 1),
    ("store restore keyway.backup --store s --dry-run", 0),
    ("store rekey --store s", 0),
    ("rm web/token --store s --yes", 0),
    ("rm web/token --store s --yes", 3),
    ("import plain.env --store s --yes --prefix shop", 0),
    ("import missing.env --store s --yes", 1),
    ("export web/moved --store s", 0),
    ("store passphrase --store s", 0),
    ("plugins", 0),
    ("plugins list", 0),
    ("plugins enable vault", 0),
    ("plugins enable guard", 4),
    ("plugins enable unknown", 3),
    ("plugins disable vault", 0),
    ("plugins reload", 1),
    ("plugins trust vault", 0),
    ("plugins untrust vault", 0),
    ("audit", 1),
    ("audit --config audit.toml", 1),
    ("status", 1),
    ("stop", 1),
    ("doctor", 1),
    ("service", 2),
    ("service install", 1),
    ("service status", 1),
    ("service uninstall", 1),
    ("config --no-config", 0),
    ("config check audit.toml", 0),
    ("config check missing.toml", 2),
    ("version", 0),
    ("completions tcsh", 2),
    ("man manual", 0),
    ("serve --config missing.toml", 2),
    ("get", 2),
    ("gett", 2),
    ("get a --nonsense", 2),
];

/// Commands whose exit code reports a finding, which is in their output.
const FINDERS: &[&str] = &["doctor"];

/// Commands whose output has values.
const WITH_VALUES: &[&str] = &["get", "export"];

fn home() -> Home {
    let home = Home::new();
    fs::write(home.join("app.env"), "TOKEN=se://web/token\n").unwrap();
    fs::write(
        home.join("plain.env"),
        "API_TOKEN=dummy-Zq3x9Kw7Rt5Lp2Vn8\n",
    )
    .unwrap();
    fs::write(
        home.join("audit.toml"),
        "[audit]\npath = \"/nonexistent/audit.jsonl\"\n",
    )
    .unwrap();
    // The machine may have a service manager, which is not to be changed.
    fs::create_dir(home.join("bin")).unwrap();
    for program in ["systemctl", "loginctl"] {
        let path = home.join("bin").join(program);
        fs::write(&path, "#!/bin/sh\nexit 1\n").unwrap();
        set_mode(&path, 0o700);
    }
    home
}

/// Checks the shape of both streams, and returns the error.
#[track_caller]
fn check(line: &str, output: &Output) -> Option<Value> {
    let command = line.split(' ').next().unwrap();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    let parse = |part: &str| {
        let parsed = serde_json::from_str::<Value>(part);
        parsed.unwrap_or_else(|error| panic!("{line}: {error}: {part}"))
    };
    stdout.lines().for_each(|line| drop(parse(line)));
    let mut errors = Vec::new();
    for part in stderr.lines() {
        let message = parse(part);
        match message.get("error") {
            Some(error) => errors.push(error.clone()),
            None => assert!(message["note"].is_string(), "{line}: {part}"),
        }
    }
    if !WITH_VALUES.contains(&command) {
        assert!(!stdout.contains("dummy"), "{line}: {stdout}");
    }
    assert!(!stderr.contains("dummy"), "{line}: {stderr}");
    let code = output.status.code().unwrap();
    let is_finding = FINDERS.contains(&command) && !stdout.is_empty();
    assert_eq!(
        errors.len(),
        usize::from(code != 0 && !is_finding),
        "{line}: {stderr}"
    );
    let error = errors.pop()?;
    assert_eq!(error["exit_code"], code, "{line}: {error}");
    for key in ["kind", "message", "remedy"] {
        let text = error[key].as_str().unwrap();
        assert!(!text.is_empty() && !text.contains('\n'), "{line}: {error}");
    }
    assert!(error["details"].is_array(), "{line}: {error}");
    for key in ["plugin", "id"] {
        assert!(
            error[key].is_null() || error[key].is_string(),
            "{line}: {error}"
        );
    }
    if (3..=6).contains(&code) && command == "get" {
        assert_eq!(stdout, "", "{line}");
    }
    Some(error)
}

fn run(home: &Home, line: &str) -> Output {
    let line = with_json(line);
    let mut keyway = home.keyway(line.split_whitespace());
    feed(keyway.env("PATH", home.search_path()), b"dummy-value")
}

/// `run` has its options before `--`.
fn with_json(line: &str) -> String {
    match line.split_once(" -- ") {
        Some((options, command)) => format!("{options} --json -- {command}"),
        None => format!("{line} --json"),
    }
}

#[test]
fn every_command_has_a_machine_readable_result_and_error() {
    let home = home();
    let _daemon = script::serve(&home);
    for (line, code) in LINES {
        let output = run(&home, line);
        assert_eq!(
            output.status.code(),
            Some(*code),
            "{line}: {}",
            home.show(&output)
        );
        check(line, &output);
    }
}

#[test]
fn without_a_daemon_every_error_is_an_object() {
    let home = home();
    for (line, _) in LINES {
        check(line, &run(&home, line));
    }
    let error = check("get", &run(&home, "get web/token")).unwrap();
    assert_eq!(
        (&error["kind"], &error["exit_code"]),
        (&"daemon_not_running".into(), &5.into())
    );
}

#[test]
fn the_lines_above_cover_every_command() {
    for command in commands(&Home::new(), &[]) {
        let words = command.words.join(" ");
        let is_covered = LINES.iter().any(|(line, _)| {
            line.starts_with(&words)
                && (words.contains(' ') || line.split(' ').next() == Some(&words))
        });
        assert!(is_covered || words.is_empty(), "{words}");
    }
}

#[test]
fn an_error_names_the_plugin_and_the_id() {
    let home = home();
    let _daemon = script::serve(&home);
    let error = check("get", &run(&home, "get nothing/here")).unwrap();
    assert_eq!(
        (&error["kind"], &error["id"]),
        (&"not_found".into(), &"nothing/here".into())
    );
    let error = check("get", &run(&home, "get remedy/locked")).unwrap();
    insta::assert_snapshot!(error, @r#"{"details":[],"exit_code":6,"id":"remedy/locked","kind":"locked","message":"vault is locked","plugin":"vault","remedy":"vault says: unlock it with `vault login`"}"#);
}
