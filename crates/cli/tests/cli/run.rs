//! `keyway run`: the variables of the child, and the failures that prevent its start.

use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, Output};

use keyway_test_support::scripted::ScriptedDaemon;
use keyway_test_support::{feed, set_mode, text};

use crate::support::Home;
use crate::support::script::{self, binary};

/// `keyway run` with these options before the `--` and a shell script as the command.
pub(crate) fn run(home: &Home, options: &[&str], script: &str) -> Command {
    let mut arguments = vec!["run"];
    arguments.extend(options);
    arguments.extend(["--", "sh", "-c", script]);
    home.keyway(arguments)
}

fn with_daemon(change: impl FnOnce(&mut Command), options: &[&str], text: &str) -> Output {
    let home = Home::new();
    let _daemon = script::serve(&home);
    let mut command = run(&home, options, text);
    change(&mut command);
    feed(&mut command, b"")
}

#[test]
fn references_become_secrets_and_other_variables_are_kept() {
    let odd = std::ffi::OsStr::from_bytes(b"\xff=\n");
    let output = with_daemon(
        |command| {
            command
                .env("TOKEN", "se://web/token")
                .env("AGAIN", "se://web/token")
                .env("PASSWORD", "se://db/password")
                .env("ODD", odd)
                .env("NOT_ONE", "x se://web/token");
        },
        &[],
        "printf '%s|' \"$TOKEN\" \"$AGAIN\" \"$PASSWORD\" \"$NOT_ONE\" \"$ODD\"",
    );
    let expected = b"dummy-token|dummy-token|dummy-password|x se://web/token|\xff=\n|";
    assert_eq!(output.stdout, expected);
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}

#[test]
fn global_options_may_precede_the_command() {
    let home = Home::new();
    let _daemon = ScriptedDaemon::serve(home.join("other.sock"), script::full());
    let line = [
        "--socket",
        "other.sock",
        "run",
        "--",
        "sh",
        "-c",
        "echo $TOKEN -- $0",
        "--",
    ];
    let output = feed(home.keyway(line).env("TOKEN", "se://web/token"), b"");
    assert_eq!(text(&output.stdout), "dummy-token -- --\n");
    let line = ["--json", "run", "--dry-run", "--", "true"];
    let output = feed(home.keyway(line).env("TOKEN", "se://web/token"), b"");
    let expected = r#"[{"variable":"TOKEN","id":"web/token","from":"environment"}]"#;
    assert_eq!(text(&output.stdout), format!("{expected}\n"));
}

#[test]
fn env_files_add_variables_and_the_last_one_wins() {
    let home = Home::new();
    let _daemon = script::serve(&home);
    home.write("a.env", "A=file\nB='se://web/token'\n");
    home.write("b.env", "B=se://db/password\n");
    let mut command = run(
        &home,
        &["--env-file", "a.env", "--env-file", "b.env"],
        "echo $A $B $C",
    );
    command.env("A", "environment").env("C", "kept");
    let output = feed(&mut command, b"");
    assert_eq!(home.show(&output), "file dummy-password kept\n");
}

#[test]
fn a_secret_may_hold_any_byte_but_zero() {
    let home = Home::new();
    let _daemon = script::serve(&home);
    let mut command = run(&home, &[], "printf %s \"$A\"");
    command.env("A", "se://bin/quoted");
    assert_eq!(feed(&mut command, b"").stdout, b"a\"b\n");
    assert!(binary().contains(&0));
    command.env("A", "se://bin/key");
    insta::assert_snapshot!(home.show(&feed(&mut command, b"")));
}

#[test]
fn nothing_starts_unless_every_reference_is_resolved() {
    let home = Home::new();
    let _daemon = script::serve(&home);
    let mut text = String::new();
    for references in [
        &["se://nothing/here"][..],
        &[
            "se://web/token",
            "se://nothing/here",
            "se://denied/id",
            "se://nothing/here",
        ],
        &["se://nothing/here", "se://broken/id"],
        &["se://twice/id"],
        &["se://web/*", "se://", "se://a b"],
    ] {
        let mut command = run(&home, &[], "touch started");
        for (name, reference) in ["A", "B", "C", "D"].iter().zip(references) {
            command.env(name, reference);
        }
        text += &format!(
            "# {}\n{}\n",
            references.join(" "),
            home.show(&feed(&mut command, b""))
        );
    }
    assert!(!home.join("started").exists());
    insta::assert_snapshot!(text);
}

#[test]
fn without_a_daemon() {
    let home = Home::new();
    let output = feed(&mut run(&home, &[], "echo no secrets needed"), b"");
    assert_eq!(home.show(&output), "no secrets needed\n");
    let mut command = run(&home, &[], "touch started");
    command
        .env("A", "se://web/token")
        .env("B", "se://db/password");
    insta::assert_snapshot!(home.show(&feed(&mut command, b"")));
    assert!(!home.join("started").exists());
}

#[test]
fn a_dry_run_lists_the_references_without_a_query() {
    let home = Home::new();
    let variables = "# comment\nTOKEN=se://web/token\nPLAIN=hunter2\n";
    home.write("app.env", variables);
    let mut command = run(
        &home,
        &["--dry-run", "--env-file", "app.env"],
        "touch started",
    );
    command.env("PASSWORD", "se://db/password");
    let dry = home.show(&feed(&mut command, b""));
    let nothing = home.show(&feed(&mut run(&home, &["--dry-run"], "touch started"), b""));
    assert!(!home.join("started").exists());
    insta::assert_snapshot!(format!("{dry}\n{nothing}"));
}

#[test]
fn invalid_env_files() {
    let home = Home::new();
    let mut text = String::new();
    for content in [
        "A=1\nhunter2\n",
        "A='hunter2\n",
        "A=\"hunter2\"x",
        "1A=hunter2",
        "A=\"\\x\"",
        "A=se://hunter 2",
    ] {
        home.write("app.env", content);
        let output = feed(
            &mut run(&home, &["--env-file", "app.env"], "touch started"),
            b"",
        );
        let shown = home.show(&output);
        assert!(!shown.contains("hunter2"), "{shown}");
        text += &format!("# {content:?}\n{shown}\n");
    }
    let output = feed(
        &mut run(&home, &["--env-file", "missing.env"], "touch started"),
        b"",
    );
    text += &home.show(&output);
    assert!(!home.join("started").exists());
    insta::assert_snapshot!(text);
}

#[test]
fn commands_that_cannot_be_started() {
    let home = Home::new();
    home.write("text", "echo hello\n");
    let mut text = home.transcript(&[
        "run -- no-such-command",
        "run -- ./no/such",
        "run -- ./text",
        "run -- .",
    ]);
    set_mode(&home.join("text"), 0o755);
    text += &home.transcript(&["run -- ./text"]);
    insta::assert_snapshot!(text);
}

#[test]
fn a_command_is_found_in_the_childs_path() {
    let home = Home::new();
    let bin = home.create_dir("bin");
    std::os::unix::fs::symlink("/bin/echo", bin.join("own-echo")).unwrap();
    let path = format!("PATH={}\n", bin.display());
    home.write("app.env", path);
    let output = home.run("run --env-file app.env -- own-echo found", b"");
    assert_eq!(home.show(&output), "found\n");
}
