//! `keyway doctor`: each fault is found, with its exit status.

use std::fs;
use std::os::unix::net::UnixListener;
use std::process::Output;

use keyway_test_support::{Daemon, set_mode};
use rustix::process::Signal;

use crate::support::{Home, KEYWAY};

fn doctor(home: &Home) -> (Option<i32>, String) {
    let output = home.run("doctor", b"");
    (output.status.code(), home.show(&output))
}

/// Asserts that a line begins with `start` and contains `advice`, and that the exit status is 1.
#[track_caller]
fn assert_wrong(home: &Home, start: &str, advice: &str) {
    let (code, text) = doctor(home);
    let found = text.lines().find(|line| line.starts_with(start));
    let found = found.unwrap_or_else(|| panic!("no {start:?} in:\n{text}"));
    assert!(found.contains(advice), "no {advice:?} in {found}");
    assert_eq!(code, Some(1), "{text}");
}

fn levels(output: &Output) -> Vec<(String, String)> {
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap().iter();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    findings
        .map(|found| (text(&found["check"]), text(&found["level"])))
        .collect()
}

#[test]
fn a_daemon_that_works_has_notes_at_most() {
    let home = Home::new();
    home.set("web/token", b"dummy");
    let daemon = home.serve(&[]);
    let (code, text) = doctor(&home);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.starts_with("note   audit log: the audit log is off. "),
        "{text}"
    );
    let output = home.run("doctor --json", b"");
    let levels = levels(&output);
    assert!(
        levels.iter().all(|(_, level)| level != "wrong"),
        "{levels:?}"
    );
    for check in [
        "daemon",
        "one daemon",
        "store",
        "passphrase",
        "configuration in force",
    ] {
        assert!(
            levels.contains(&(check.to_owned(), "ok".to_owned())),
            "{check}: {levels:?}"
        );
    }
    let verbose = home.run("doctor --verbose", b"");
    assert!(String::from_utf8_lossy(&verbose.stdout).contains("ok     daemon\n"));
    daemon.stop();
    let audit = home.join("audit.jsonl");
    home.configure(&format!("[audit]\npath = \"{}\"\n", audit.display()));
    let daemon = home.serve(&[]);
    assert_eq!(doctor(&home), (Some(0), "nothing is wrong\n".to_owned()));
    daemon.stop();
}

#[test]
fn no_daemon_and_a_stale_socket() {
    let home = Home::new();
    assert_wrong(
        &home,
        "wrong  daemon: no daemon was reached",
        "Start it with `keyway serve`",
    );
    drop(UnixListener::bind(home.socket()).unwrap());
    assert_wrong(
        &home,
        "wrong  stale sockets: no process listens at HOME/daemon.sock",
        "remove it",
    );
}

#[test]
fn a_stopped_daemon() {
    let home = Home::new();
    let daemon = home.serve(&[]);
    daemon.signal(Signal::STOP);
    assert_wrong(
        &home,
        "wrong  daemon: the daemon (process",
        "Continue it with `kill -CONT",
    );
    daemon.signal(Signal::CONT);
    daemon.stop();
}

#[test]
fn two_daemons_at_addresses_of_one_user() {
    let home = Home::new();
    let sockets = [
        "run/keyway/daemon.sock",
        ".cache/docker-secrets-engine/engine.sock",
    ];
    let daemons = sockets.map(|socket| {
        let socket = home.join(socket);
        let state = home.join(format!("state-{}", socket.file_name().unwrap().display()));
        let mut command = home.keyway(["serve", "--socket"]);
        command
            .arg(socket)
            .arg("--state-dir")
            .arg(state)
            .env_remove("KEYWAY_SOCKET");
        Daemon::start(&mut command)
    });
    let mut command = home.keyway(["doctor"]);
    command
        .env_remove("KEYWAY_SOCKET")
        .env("XDG_RUNTIME_DIR", home.join("run"));
    let output = keyway_test_support::feed(&mut command, b"");
    let text = home.show(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let line = text
        .lines()
        .find(|line| line.starts_with("wrong  one daemon: several daemons run"));
    let line = line.unwrap_or_else(|| panic!("{text}"));
    for daemon in daemons {
        assert!(
            line.contains(&format!("process {} at HOME", daemon.id())),
            "{line}"
        );
        daemon.stop();
    }
}

#[test]
fn a_program_that_was_replaced() {
    let home = Home::new();
    let program = home.join("keyway");
    fs::copy(KEYWAY, &program).unwrap();
    let daemon = Daemon::start(home.command(&program).arg("serve"));
    fs::remove_file(&program).unwrap();
    assert_wrong(
        &home,
        "wrong  program: HOME/keyway was replaced",
        "`keyway stop`",
    );
    let version = home.show(&home.run("version", b""));
    assert!(
        version.contains("the program of the daemon was replaced"),
        "{version}"
    );
    daemon.stop();
}

#[test]
fn a_store_without_identity_or_with_wrong_modes() {
    let home = Home::new();
    home.set("web/token", b"dummy");
    let daemon = home.serve(&[]);
    let store = home.join(".local/share/keyway");
    let identity = store.join("identity.txt");
    set_mode(&identity, 0o644);
    let exposed = "wrong  store: HOME/.local/share/keyway/identity.txt has mode 0644";
    assert_wrong(&home, exposed, "chmod");
    set_mode(&identity, 0o600);
    fs::rename(identity, home.join("lost")).unwrap();
    assert_wrong(&home, "wrong  store: ", "Restore that file from a backup");
    daemon.stop();
}

#[test]
fn a_configuration_that_is_wrong_unread_or_names_a_plugin_that_does_not_exist() {
    let home = Home::new();
    home.configure("");
    let daemon = home.serve(&[]);
    home.configure("[plugins.nosuch]\npriority = 5\n");
    let changed = "wrong  configuration in force: the configuration has changed";
    assert_wrong(&home, changed, "`keyway plugins reload`");
    home.run("plugins reload", b"");
    assert_wrong(
        &home,
        "wrong  plugins: nosuch is absent",
        "Install the plugin",
    );
    home.configure("audit = 5");
    assert_wrong(&home, "wrong  configuration: ", "Repair the file");
    daemon.stop();
}

#[test]
fn a_plugin_that_ends_at_once() {
    let home = Home::new();
    home.install_script(
        "vault",
        "#!/bin/sh\necho no token for the vault >&2\nexit 78\n",
    );
    let plugins = home.join("plugins");
    let mut daemon = home.serve(&["--plugin-dir", plugins.to_str().unwrap()]);
    daemon.expect("vault");
    let listed = keyway_test_support::eventually("the plugin has failed", || {
        let text = doctor(&home).1;
        match text.contains("wrong  plugins: vault is ") {
            true => Ok(text),
            false => Err(text),
        }
    });
    assert!(listed.contains("no token for the vault"), "{listed}");
    daemon.stop();
}
