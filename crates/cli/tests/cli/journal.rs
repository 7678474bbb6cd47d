//! The log of the daemon in the journal of systemd.

use std::fs::File;
use std::os::linux::fs::MetadataExt as _;
use std::process::Command;

use keyway_test_support::{eventually, require};

use crate::support::user_manager::{self, UserManager};
use crate::support::{Home, KEYWAY};

#[test]
fn the_log_of_the_service_has_priorities_and_fields_in_a_real_journal() {
    if !user_manager::can_start() || !require::has_program("journalctl") {
        return;
    }
    let home = Home::new();
    let plugins = home.create_dir(".local/share/keyway/plugins");
    home.install_script("vault", "#!/bin/sh\necho no token >&2\nexit 78\n");
    std::fs::rename(home.join("plugins/vault"), plugins.join("vault")).unwrap();
    let systemd = UserManager::start_with_journal(&home);
    systemd.succeed([KEYWAY, "service", "install"]);
    systemd.succeed([KEYWAY, "plugins"]);
    let find = |filter: &str, message: &str| {
        eventually(message, || {
            let found = systemd.succeed([
                "journalctl",
                "--directory=/run/log/journal",
                "--output=json",
                "SYSLOG_IDENTIFIER=keyway",
                filter,
            ]);
            let mut entries = found.lines().map(|line| {
                let entry: serde_json::Value = serde_json::from_str(line).unwrap();
                entry
            });
            let entry = entries.find(|entry| {
                let text = entry["MESSAGE"].as_str();
                text.is_some_and(|text| text.starts_with(message))
            });
            entry.ok_or_else(|| found.clone())
        })
    };
    let printed = find("KEYWAY_PLUGIN=vault", "no token");
    assert_eq!(printed["PRIORITY"], "6");
    assert_eq!(printed["SYSLOG_IDENTIFIER"], "keyway");
    assert_eq!(printed["TARGET"], "keyway::plugin");
    assert_eq!(printed["_TRANSPORT"], "journal");
    assert_eq!(printed["MESSAGE"], "no token plugin=vault");
    let pid = systemd.property("keyway.service", "MainPID");
    assert_eq!(printed["_PID"], pid);
    let failed = find("PRIORITY=3", "plugin failed");
    assert_eq!(failed["KEYWAY_PLUGIN"], "vault");
    let ready = find("PRIORITY=6", "keyway: ready at ");
    assert_eq!(ready["_PID"], pid);
}

#[test]
fn without_the_socket_of_the_journal_each_line_has_its_priority() {
    let can_unshare = || {
        let mut unshare = Command::new("unshare");
        require::can_run("namespaces", unshare.args(["--mount", "true"]))
    };
    if !require::has_root() || !can_unshare() {
        return;
    }
    let home = Home::new();
    let path = home.join("stderr");
    let stderr = File::create(&path).unwrap();
    let metadata = stderr.metadata().unwrap();
    let stream = format!("{}:{}", metadata.st_dev(), metadata.st_ino());
    let mut command = home.command("unshare");
    let status = command
        .args(["--mount", "sh", "-c"])
        .arg("mount -t tmpfs tmpfs /run && exec \"$@\"")
        .args(["sh", KEYWAY, "serve", "--config", "nosuch.toml"])
        .env("JOURNAL_STREAM", stream)
        .env("RUST_LOG", "loud=loud")
        .stderr(stderr)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(2));
    let log = std::fs::read_to_string(path).unwrap();
    let lines: Vec<_> = log.lines().collect();
    assert!(lines[0].starts_with("<4>"), "{log}");
    assert!(lines[1].starts_with("<3>keyway: "), "{log}");
    assert!(lines.iter().all(|line| line.starts_with('<')), "{log}");
}
