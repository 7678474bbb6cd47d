//! The state, the store and the configuration of the first version, used by this one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use keyway_test_support::{Daemon, copy_executable, eventually, set_mode};

use crate::support::{Home, KEYWAY};

const FIRST_VERSION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/first-version");

/// A home as the first version left it.
struct Former {
    home: Home,
    /// This version, in the place of the first one.
    program: PathBuf,
}

impl Former {
    fn new() -> Self {
        let home = Home::new();
        copy(&home, "config.toml", ".config/keyway/config.toml");
        copy(&home, "state", ".local/state/keyway");
        copy(&home, "store", ".local/share/keyway");
        // What the executables do has no part in this: they have never registered with this version.
        for path in [
            "prefix/plugins/beside",
            ".local/share/keyway/plugins/env",
            ".local/share/keyway/plugins/old",
        ] {
            let plugin = home.write(path, format!("#!/bin/sh\n# {path}\nexit 78\n"));
            set_mode(&plugin, 0o755);
        }
        let program = home.create_dir("prefix/bin").join("keyway");
        copy_executable(KEYWAY, &program);
        Self { home, program }
    }

    fn serve(&self) -> Daemon {
        Daemon::start(self.home.command(&self.program).arg("serve"))
    }
}

/// Copies a file or a directory of the fixtures with the modes that the first version gave them, which git does not keep.
fn copy(home: &Home, from: &str, to: &str) {
    let source = Path::new(FIRST_VERSION).join(from);
    if source.is_dir() {
        for entry in fs::read_dir(&source).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            copy(home, &format!("{from}/{name}"), &format!("{to}/{name}"));
        }
        set_mode(&home.join(to), 0o700);
        return;
    }
    let mut content = fs::read(&source).unwrap();
    if let Ok(text) = std::str::from_utf8(&content) {
        content = text.replace("@HOME@", home.path().to_str().unwrap()).into();
    }
    set_mode(&home.write(to, content), 0o600);
}

#[test]
fn the_store_of_the_first_version_keeps_its_versions() {
    let former = Former::new();
    let home = &former.home;
    let read = |id: &str| home.run(&format!("get --value {id}"), b"").stdout;
    let check = || {
        assert_eq!(read("web/token"), b"dummy-token-3");
        assert_eq!(read("db/password"), b"dummy-password");
        assert_eq!(read("bin/key"), b"\0\x01dummy\xff");
        assert_eq!(home.run("get web/gone", b"").status.code(), Some(3));
    };
    let daemon = former.serve();
    check();
    let restored = home.run("restore web/token 1", b"");
    assert!(restored.status.success(), "{}", home.show(&restored));
    assert_eq!(read("web/token"), b"dummy-token-1");
    home.set("web/token", b"dummy-token-3");
    home.set("web/new", b"dummy-new");
    check();
    daemon.stop();
    let daemon = former.serve();
    check();
    assert_eq!(read("web/new"), b"dummy-new");
    daemon.stop();
}

#[test]
fn the_configuration_and_the_state_of_the_first_version_are_read_and_warnings_say_what_to_change() {
    let former = Former::new();
    let home = &former.home;
    let config = home.join(".config/keyway/config.toml");
    let before = fs::read(&config).unwrap();
    let daemon = former.serve();
    let log = eventually("the last of its warnings", || {
        let log = daemon.log();
        match log.contains("the plugin removed is configured and absent") {
            true => Ok(log),
            false => Err(log),
        }
    });
    let mut text = String::new();
    for line in log.lines().filter(|line| line.contains(" WARN ")) {
        // The first column is the time.
        let line = line.split_once(' ').unwrap().1.trim_start();
        text += &format!("{}\n", line.replace(home.path().to_str().unwrap(), "HOME"));
    }
    text += "\n";
    text += &home.transcript(&["get app/greeting", "get removed/x", "plugins", "doctor"]);
    insta::assert_snapshot!(text);
    daemon.stop();
    assert_eq!(fs::read(&config).unwrap(), before);
    let state = fs::read_to_string(home.join(".local/state/keyway/state.json")).unwrap();
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    let plugins = &state["plugins"];
    assert_eq!(plugins["old"]["disabled"], true, "{state}");
    let pin = plugins["beside"]["trusted"].as_str().unwrap();
    assert!(pin.starts_with("14be715e"), "{state}");
}

#[test]
fn the_audit_log_of_the_first_version_is_shown_and_continued() {
    let former = Former::new();
    let home = &former.home;
    let daemon = former.serve();
    home.run("get db/password", b"");
    daemon.stop();
    let path = home.join(".local/state/keyway/audit.jsonl");
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let log = fs::read_to_string(path).unwrap();
    assert!(log.starts_with("{\"time\":1796040336.312,"), "{log}");
    let shown = home.run("audit --json", b"");
    let shown = home.show(&shown);
    let ids = ["web/token", "app/greeting", "old/token", "db/password"];
    let at = ids.map(|id| shown.find(id).unwrap_or_else(|| panic!("{id}: {shown}")));
    assert!(at.is_sorted(), "{shown}");
}
