//! The audit log of `keyway serve` on a disk that fills up.

use std::fs;

use keyway_test_support::{Daemon, eventually};
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
