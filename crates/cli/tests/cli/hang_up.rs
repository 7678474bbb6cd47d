//! `keyway serve` at a terminal that is closed.

use keyway_test_support::{eventually, process, require};
use rustix::process::Signal;

use crate::support::{Home, SHELLS, Terminal};

/// Runs a line that starts the daemon in a shell, and returns the shell and the pid of the daemon.
fn serve(home: &Home, shell: &[&str], line: &str) -> (Terminal, i32) {
    let mut terminal = Terminal::shell(home, shell);
    let socket = home.socket();
    terminal.press(&format!("export KEYWAY_SOCKET={}\n", socket.display()));
    terminal.press(&format!("{line}\n"));
    let pid = eventually("the daemon responds", || {
        let output = home.run("status --json", b"");
        let status: serde_json::Value =
            serde_json::from_slice(&output.stdout).map_err(|_| home.show(&output))?;
        status["pid"].as_i64().ok_or_else(|| status.to_string())
    });
    (terminal, i32::try_from(pid).unwrap())
}

fn wait_for_end(pid: i32) {
    // The first process of a container may leave it as a zombie.
    eventually("the daemon ends", || match process::stat(pid) {
        Some(stat) if stat.state != 'Z' => Err(stat.state),
        _ => Ok(()),
    });
}

#[test]
fn a_daemon_in_the_foreground_ends_with_its_terminal() {
    for shell in SHELLS {
        if require::has_program(shell[0]) {
            let home = Home::new();
            let (terminal, pid) = serve(&home, shell, "$K serve");
            terminal.hang_up();
            wait_for_end(pid);
            assert!(!home.socket().exists(), "it stopped in order");
        }
    }
}

#[test]
fn a_daemon_in_the_background_ends_with_its_terminal_and_reloads_before() {
    let bash = SHELLS[0];
    if require::has_program(bash[0]) {
        let home = Home::new();
        let (mut terminal, pid) = serve(&home, bash, "$K serve &");
        home.configure("audit = 5");
        terminal.press(&format!("kill -HUP {pid}\n"));
        terminal.expect("reload failed");
        assert_eq!(home.run("status", b"").status.code(), Some(0));
        terminal.hang_up();
        wait_for_end(pid);
        assert!(!home.socket().exists(), "it stopped in order");
    }
}

#[test]
fn under_nohup_a_hang_up_stays_ignored() {
    let bash = SHELLS[0];
    if require::has_program(bash[0]) && require::has_program("nohup") {
        let home = Home::new();
        let (terminal, pid) = serve(&home, bash, "nohup $K serve >log 2>&1 &");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let ignored = u64::from_str_radix(ignored.unwrap().trim(), 16).unwrap();
        assert_eq!(ignored & 1, 1, "SIGHUP is signal {}", Signal::HUP.as_raw());
        terminal.hang_up();
        assert_eq!(home.run("stop", b"").status.code(), Some(0));
        wait_for_end(pid);
    }
}
