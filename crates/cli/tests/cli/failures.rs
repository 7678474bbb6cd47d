//! Every kind of failure through every command that reports it: the exit code and both sentences.

use std::fmt::Write as _;

use keyway_test_support::feed;

use crate::support::{Home, script};

const KINDS: [&str; 16] = [
    "locked",
    "needs_user",
    "denied",
    "unavailable",
    "timed_out",
    "quota",
    "invalid",
    "fatal",
    "unauthenticated",
    "cannot_list",
    "internal",
    "starting",
    "down",
    "busy",
    "conflict",
    "refused",
];

fn each_kind(line: impl Fn(&str) -> String) -> String {
    let home = Home::new();
    let _daemon = script::serve(&home);
    let lines = KINDS.map(line);
    home.transcript(&lines.each_ref().map(String::as_str))
}

#[test]
fn get_reports_the_failure_and_its_remedy() {
    insta::assert_snapshot!(each_kind(|kind| format!("get kind/{kind}")));
}

#[test]
fn run_reports_the_failure_and_its_remedy() {
    let home = Home::new();
    let _daemon = script::serve(&home);
    let mut text = String::new();
    for kind in KINDS {
        let mut command = home.keyway(["run", "--", "echo", "started"]);
        command.env("TOKEN", format!("se://kind/{kind}"));
        let output = feed(&mut command, b"");
        let line = format!("TOKEN=se://kind/{kind} keyway run -- echo started");
        writeln!(text, "$ {line}\n{}", home.show(&output)).unwrap();
    }
    let mut command = home.keyway(["run", "--", "echo", "started"]);
    command
        .env("A", "se://kind/locked")
        .env("B", "se://kind/denied");
    command
        .env("C", "se://several/id")
        .env("D", "se://web/token");
    text.push_str(&home.show(&feed(&mut command, b"")));
    insta::assert_snapshot!(text);
}

#[test]
fn ls_reports_the_failure_and_its_remedy() {
    insta::assert_snapshot!(each_kind(|kind| format!("ls kind/{kind}")));
}

#[test]
fn ls_fetch_reports_the_failure_and_its_remedy() {
    insta::assert_snapshot!(each_kind(|kind| format!("ls --fetch fetch/{kind}")));
}

#[test]
fn remedies_and_several_failures() {
    let home = Home::new();
    let _daemon = script::serve(&home);
    insta::assert_snapshot!(home.transcript(&[
        "get remedy/locked",
        "get remedy/needs_user",
        "get remedy/unavailable",
        "get wide/locked",
        "get wide/refused",
        "get kind/needs_user --no-ask",
        "get several/id",
        "get several/id --value",
        "get several/id --json",
        "get half/*",
        "get half/* --value",
        "get half/**",
        "ls --fetch half/**",
    ]));
}
