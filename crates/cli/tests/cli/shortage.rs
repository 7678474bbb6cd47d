//! `keyway serve` and writes where their user may have no more processes, and where a process may open no more files.

use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::Command;

use keyway_test_support::{Daemon, copy_executable, eventually, feed, require, set_mode, text};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Home, KEYWAY};

/// A user without any other process. The tests of this module use one each, because the limit counts the processes of a user.
const FIRST_UID: u32 = 64_200;

/// A home that belongs to another user, with a copy of the program, because the build directory may be closed to others.
struct OtherHome {
    home: Home,
    keyway: PathBuf,
    uid: u32,
}

impl OtherHome {
    fn new(uid: u32) -> Self {
        let home = Home::new();
        let keyway = home.join("keyway");
        copy_executable(KEYWAY, &keyway);
        set_mode(home.path(), 0o755);
        let own = home.create_dir("own");
        chown(&own, Some(uid), Some(uid)).unwrap();
        Self { home, keyway, uid }
    }

    /// A command of the user.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.home.command("setpriv");
        command
            .arg(format!("--reuid={}", self.uid))
            .arg(format!("--regid={}", self.uid))
            .args(["--clear-groups", "--inh-caps=-all"])
            .args(arguments)
            .env("HOME", self.home.join("own"))
            .env("KEYWAY_SOCKET", self.home.join("own/daemon.sock"));
        command
    }

    /// `keyway serve`, which may have this many processes and threads.
    fn serve(&self, limit: &str) -> Command {
        let limit = format!("--nproc={limit}");
        let mut command = self.command(&["prlimit", &limit]);
        command
            .arg(&self.keyway)
            .arg("serve")
            .env("RUST_LOG", "info");
        command
    }

    /// Changes how many processes and threads the daemon may have.
    fn limit_processes(&self, daemon: &Daemon, limit: &str) {
        let (pid, limit) = (
            format!("--pid={}", daemon.id()),
            format!("--nproc={limit}:"),
        );
        let output = feed(&mut self.command(&["prlimit", &pid, &limit]), b"");
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
}

fn has_other_users() -> bool {
    require::has_root() && require::has_program("setpriv") && require::has_program("prlimit")
}

#[test]
fn a_start_without_room_for_processes_ends_with_a_reason() {
    if !has_other_users() {
        return;
    }
    let home = OtherHome::new(FIRST_UID);
    // The daemon has a few threads and a second process: each of these limits keeps it from another one.
    let refusals = (1..12).map_while(|limit| {
        let started = Daemon::try_start(&mut home.serve(&limit.to_string()), |_| {});
        started.err().map(|error| {
            let status = error.status.and_then(|status| status.code());
            (status, error.log)
        })
    });
    let refusals: Vec<_> = refusals.collect();
    assert!(refusals.len() > 3, "{refusals:?}");
    for (status, log) in refusals {
        assert_eq!(status, Some(1), "{log}");
        assert!(
            log.contains("Check the limits of this user for processes"),
            "{log}"
        );
        assert!(!log.contains("panicked"), "{log}");
    }
}

#[test]
fn a_plugin_that_cannot_be_forked_has_not_failed_and_starts_when_there_is_room() {
    if !has_other_users() {
        return;
    }
    let home = OtherHome::new(FIRST_UID + 1);
    let mut daemon = Daemon::start(&mut home.serve("1000"));
    let started = "plugin process started plugin=file pid=";
    let line = daemon.expect(started);
    daemon.expect("plugin registered");
    let pid = line
        .split(started)
        .nth(1)
        .and_then(|pid| pid.trim().parse().ok());
    home.limit_processes(&daemon, "1");
    kill_process(pid.and_then(Pid::from_raw).unwrap(), Signal::KILL).unwrap();
    daemon.expect("plugin not started");
    let plugins = || {
        let output = home
            .command(&[home.keyway.to_str().unwrap(), "plugins"])
            .output()
            .unwrap();
        text(&output.stdout)
    };
    eventually("the reason in the list", || {
        let shown = plugins();
        match shown.contains("the user of the daemon has too many processes") {
            true => Ok(()),
            false => Err(shown),
        }
    });
    home.limit_processes(&daemon, "1000");
    daemon.expect("plugin registered");
    let (status, log) = daemon.stop();
    assert_eq!(status.code(), Some(0), "{log}");
    // The one failure is the process that was killed.
    assert_eq!(log.matches("plugin failed").count(), 1, "{log}");
}

#[test]
fn a_write_for_which_there_is_no_thread_changes_nothing() {
    if !has_other_users() {
        return;
    }
    let home = OtherHome::new(FIRST_UID + 2);
    let (keyway, store) = (&home.keyway, home.home.join("own/store"));
    let mut set = home.command(&["prlimit", "--nproc=1"]);
    set.arg(keyway)
        .args(["set", "web/token", "--generate", "--store"])
        .arg(&store);
    let output = feed(&mut set, b"");
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let reason = "keyway: nothing was changed: cannot start a thread for the file store: ";
    assert!(stderr.starts_with(reason), "{stderr}");
    assert!(!store.exists());
}

#[test]
fn a_process_that_may_open_few_files_ends_with_a_reason_or_works() {
    let home = Home::new();
    for limit in 4..24 {
        let script = format!(r#"ulimit -n {limit}; exec "$0" "$@""#);
        let mut serve = home.command("sh");
        serve.args(["-c", &script, KEYWAY, "serve"]);
        match Daemon::try_start(&mut serve, |_| {}) {
            Ok(daemon) => {
                let (status, log) = daemon.stop();
                assert_eq!(status.code(), Some(0), "{limit}: {log}");
            }
            Err(error) => {
                assert_eq!(
                    error.status.and_then(|status| status.code()),
                    Some(1),
                    "{limit}: {error}"
                );
                assert!(
                    error
                        .log
                        .contains("Check how many files this process may open"),
                    "{limit}: {error}"
                );
            }
        }
        let mut get = home.command("sh");
        get.args(["-c", &script, KEYWAY, "get", "web/token"]);
        let output = feed(&mut get, b"");
        let code = output.status.code();
        assert!(
            matches!(code, Some(1 | 5)),
            "{limit}: {}",
            text(&output.stderr)
        );
        let mut service = home.command("sh");
        service.args(["-c", &script, KEYWAY, "service", "status"]);
        let output = feed(&mut service, b"");
        let code = output.status.code();
        // 0 where a systemd of this user runs.
        assert!(
            matches!(code, Some(0 | 1)),
            "{limit}: {}",
            text(&output.stderr)
        );
    }
}
