//! The state that `keyway serve` and its plugins inherit from the program that starts the daemon.

use std::fs;

use keyway_test_support::{Daemon, feed, require};

use crate::support::{Home, KEYWAY};

/// Starts `keyway serve` from a shell that runs `setup` first.
fn serve_after(home: &Home, setup: &str) -> Daemon {
    let script = format!(r#"{setup}; exec "$0" serve --plugin-dir plugins"#);
    Daemon::start(home.command("sh").args(["-c", &script, KEYWAY]))
}

#[test]
fn the_daemon_raises_its_limit_of_open_files_and_plugins_get_the_former_one() {
    let home = Home::new();
    home.install_script(
        "limited",
        "#!/bin/sh\necho \"soft $(ulimit -Sn), hard $(ulimit -Hn)\" >&2\nsleep 600\n",
    );
    let mut daemon = serve_after(&home, "ulimit -Sn 100; ulimit -Hn 400");
    daemon.expect("soft 100, hard 400");
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.id())).unwrap();
    let open_files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let numbers: Vec<&str> = open_files.unwrap().split_whitespace().skip(3).collect();
    assert_eq!(numbers, ["400", "400", "files"]);
    daemon.stop();
}

#[test]
fn blocked_and_ignored_signals_keep_neither_the_daemon_from_stopping_nor_a_status_from_it() {
    let home = Home::new();
    home.install_script("short", "#!/bin/sh\nexit 3\n");
    let mut command = home.command("env");
    command.args(["--block-signal", "--ignore-signal=CHLD", KEYWAY]);
    let mut daemon = Daemon::start(command.args(["serve", "--plugin-dir", "plugins"]));
    daemon.expect("exited with status 3");
    let (status, log) = daemon.stop();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[test]
fn without_proc_the_daemon_ends_with_a_reason() {
    let home = Home::new();
    let unshare = |script: &str| {
        let mut command = home.command("unshare");
        command.args(["--mount", "sh", "-c", script, KEYWAY]);
        command
    };
    if !require::can_run("unshare --mount", &mut unshare("true")) {
        return;
    }
    for (mask, reason) in [
        ("/proc", "keyway: /proc is not mounted, "),
        ("/proc/$$", "keyway: /proc/self/exe cannot be read: "),
    ] {
        let script = format!(r#"mount -t tmpfs none {mask} && exec "$0" serve"#);
        let output = feed(&mut unshare(&script), b"");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.starts_with(reason), "{stderr}");
        assert_eq!(output.status.code(), Some(2));
    }
}
