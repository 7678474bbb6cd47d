//! The audit log of `keyway serve`, on a disk that fills up as well, and `keyway audit`.

use std::fs;

use keyway_test_support::{Daemon, eventually, feed};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::support::Home;

/// The file size in bytes at which writes fail, which stands for a full disk.
const LIMIT: u64 = 4096;

/// Starts a daemon with an audit log whose file cannot exceed [`LIMIT`].
fn serve(home: &Home, on_failure: &str) -> Daemon {
    let path = home.join("audit.jsonl");
    let path = path.display();
    let config = format!("[audit]\npath = \"{path}\"\non_failure = \"{on_failure}\"\n");
    home.write("config.toml", config);
    let daemon = home.serve(&["--config", "config.toml"]);
    limit_file_size(&daemon, Some(LIMIT));
    daemon
}

fn limit_file_size(daemon: &Daemon, current: Option<u64>) {
    let limit = Rlimit {
        current,
        maximum: None,
    };
    prlimit(Pid::from_raw(daemon.id() as i32), Resource::Fsize, limit).unwrap();
}

/// Returns the ids that were recorded. Each line is a whole record.
fn recorded(home: &Home) -> Vec<String> {
    let text = fs::read_to_string(home.join("audit.jsonl")).unwrap();
    assert!(text.ends_with('\n'), "torn: {text:?}");
    let records = text.lines().map(|line| {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        record["patterns"][0]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    });
    records.collect()
}

#[test]
fn a_full_disk_refuses_requests_only_if_configured_and_leaves_whole_lines() {
    for (on_failure, status_when_full) in [("continue", "200"), ("refuse", "503")] {
        let home = Home::new();
        let mut daemon = serve(&home, on_failure);
        home.set("web/token", b"not-a-real-token");
        let status = || home.query("web/token")[9..12].to_owned();
        eventually("a full disk", || {
            let status = status();
            let is_full = daemon.log().contains("audit log not written");
            (is_full && status == status_when_full)
                .then_some(())
                .ok_or(status)
        });
        recorded(&home);
        limit_file_size(&daemon, None);
        assert_eq!(status(), "200");
        daemon.expect("audit log is written again");
        let (status, _) = daemon.stop();
        assert_eq!(status.code(), Some(0));
        let recorded = recorded(&home);
        // The last record is that of the stop.
        assert_eq!(recorded[recorded.len() - 2..], ["web/token", ""]);
    }
}

#[test]
fn the_audit_command_says_who_read_what_for_which_command() {
    let home = Home::new();
    let path = home.join("audit.jsonl");
    home.write(
        "config.toml",
        format!("[audit]\npath = \"{}\"\n", path.display()),
    );
    let daemon = home.serve(&["--config", "config.toml"]);
    home.set("web/token", b"not-a-real-token");
    let mut command = home.keyway(["run", "--", "sh", "-c", "echo $TOKEN"]);
    let output = feed(command.env("TOKEN", "se://web/token"), b"");
    assert_eq!(
        output.stdout,
        b"not-a-real-token\n",
        "{}",
        home.show(&output)
    );
    home.run("get db/absent", b"");
    let text = |line: &str| String::from_utf8(home.run(line, b"").stdout).unwrap();
    let all = text("audit");
    let of_run = all
        .lines()
        .find(|line| line.contains(" for sh"))
        .unwrap_or_default();
    let parent = std::env::current_exe().unwrap();
    let parent = parent.file_name().unwrap().to_str().unwrap();
    assert!(
        of_run.contains("keyway ") && of_run.contains(&format!("from {parent}")),
        "{all}"
    );
    assert!(
        of_run.contains("web/token") && of_run.contains("file"),
        "{all}"
    );
    assert!(
        all.contains("db/absent") && all.contains("not_found"),
        "{all}"
    );
    let chosen = text("audit --id web/* --since 1h --json");
    let records = chosen
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    for record in records {
        assert_eq!(record["ids"][0], "web/token");
        let time = record["time"].as_str().unwrap();
        assert!(time.starts_with("20") && time.ends_with('Z'), "{time}");
    }
    assert!(!chosen.is_empty() && text("audit --since 2999-01-01").is_empty());
    daemon.stop();
    // Without a daemon the configuration names the log.
    let stopped = text("audit --config config.toml --json");
    assert!(stopped.contains(r#""action":"stop""#), "{stopped}");
}

#[test]
fn an_audit_log_that_cannot_be_written_is_an_error_at_the_start_and_at_a_reload() {
    let home = Home::new();
    home.write("file", "");
    let config = |path: &str| format!("[audit]\npath = \"{}\"\n", home.join(path).display());
    home.write("config.toml", config("file/audit.jsonl"));
    let error = Daemon::try_start(
        &mut home.keyway(["serve", "--config", "config.toml"]),
        |_| {},
    );
    let error = error.expect_err("a file in the place of the directory");
    assert_eq!(
        error.status.and_then(|status| status.code()),
        Some(2),
        "{}",
        error.log
    );
    assert!(
        error
            .log
            .contains("the audit log that `[audit]` names cannot be used"),
        "{}",
        error.log
    );
    home.write("config.toml", config("audit.jsonl"));
    let daemon = home.serve(&["--config", "config.toml"]);
    home.write("config.toml", config("file/audit.jsonl"));
    let output = home.run("plugins reload", b"");
    let shown = home.show(&output);
    assert!(
        !output.status.success() && shown.contains("the old configuration stays in force"),
        "{shown}"
    );
    daemon.stop();
}

#[test]
fn the_audit_command_says_how_to_turn_the_log_on() {
    let home = Home::new();
    insta::assert_snapshot!(home.transcript(&["audit", "audit --since yesterday"]));
}
