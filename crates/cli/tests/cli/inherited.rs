//! What `keyway serve` and its plugins inherit from the program that starts the daemon.

use std::fs;

use keyway_test_support::Daemon;

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
