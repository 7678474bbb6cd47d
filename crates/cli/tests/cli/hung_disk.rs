//! Files on a file system that never responds.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;

use keyway_test_support::{Daemon, Process, eventually, require, text};
use rustix::process::Signal;

use crate::support::{Home, KEYWAY};

/// The directory that hangs, in a home.
const HUNG: &str = "hung";

/// A shell with a FUSE file system at [`HUNG`] that no process serves, in a mount namespace of its own.
fn with_hung_disk(home: &Home, script: &str) -> Command {
    home.create_dir(HUNG);
    let mount = "exec 9<>/dev/fuse && \
        mount -i -t fuse -o fd=9,rootmode=40000,user_id=0,group_id=0 none hung";
    let mut command = home.command("unshare");
    command
        .args(["--mount", "sh", "-c"])
        .args([format!("{mount} && {script}"), KEYWAY.to_owned()]);
    command
}

fn can_hang() -> bool {
    let home = Home::new();
    require::can_run(
        "FUSE in a mount namespace",
        &mut with_hung_disk(&home, "true"),
    )
}

/// `keyway serve` with something of its own on the disk that hangs.
const HANGING_STARTS: [(&str, &str); 3] = [
    (
        r#"exec "$0" serve --config hung/config.toml"#,
        "keyway: the configuration and the state directory were not read within 10 s, because their file system does not respond.\n",
    ),
    (
        // The path of the configuration that was in force is in the state directory.
        r#"exec "$0" serve --state-dir hung/state"#,
        "keyway: the configuration and the state directory were not read within 10 s, because their file system does not respond.\n",
    ),
    (
        r#"exec "$0" serve --listen hung/daemon.sock"#,
        "keyway: the state directory and the directories of the sockets were not opened within 10 s, because their file system does not respond.\n",
    ),
];

fn outputs(commands: impl IntoIterator<Item = Command>) -> Vec<Output> {
    thread::scope(|scope| {
        let commands = commands.into_iter();
        let running: Vec<_> = commands
            .map(|mut command| scope.spawn(move || command.output().unwrap()))
            .collect();
        let outputs = running.into_iter().map(|output| output.join().unwrap());
        outputs.collect()
    })
}

#[test]
fn a_start_on_a_disk_that_hangs_ends_in_time_with_a_reason() {
    if !can_hang() {
        return;
    }
    let homes = HANGING_STARTS.map(|_| Home::new());
    let starts = homes.iter().zip(HANGING_STARTS);
    let outputs = outputs(starts.map(|(home, (script, _))| with_hung_disk(home, script)));
    for (output, (script, reason)) in outputs.iter().zip(HANGING_STARTS) {
        let stderr = text(&output.stderr);
        assert!(stderr.starts_with(reason), "{script}: {stderr}");
        assert_eq!(output.status.code(), Some(2), "{script}");
    }
}

/// Succeeds if a thread of a process waits without taking signals that do not kill.
fn has_blocked_thread(process: &Process) -> Result<(), String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.id())).map_err(|e| e.to_string())?;
    let states: Vec<String> = tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("stat")).ok())
        .collect();
    let is_blocked = |stat: &String| stat.contains(") D ");
    match states.iter().any(is_blocked) {
        true => Ok(()),
        false => Err(states.concat()),
    }
}

#[test]
fn a_signal_ends_a_start_on_a_disk_that_hangs() {
    if !can_hang() {
        return;
    }
    for (script, _) in HANGING_STARTS {
        for signal in [Signal::TERM, Signal::INT] {
            let home = Home::new();
            // As a shell starts a program in the background.
            let script = format!("trap '' INT TERM; {script}");
            let mut command = with_hung_disk(&home, &script);
            let mut process = Process::spawn(command.stderr(home.log("serve")));
            eventually("the start hangs", || has_blocked_thread(&process));
            process.signal(signal);
            let status = process.wait();
            let is_ended_by_signal = status.signal() == Some(signal.as_raw());
            assert!(is_ended_by_signal || status.success(), "{script}: {status}");
        }
    }
}

#[test]
fn a_daemon_whose_plugin_directory_hangs_responds_and_stops() {
    if !can_hang() {
        return;
    }
    let home = Home::new();
    let script = r#"exec "$0" serve --plugin-dir hung"#;
    let daemon = Daemon::start(&mut with_hung_disk(&home, script));
    let log = daemon.log_before_ready();
    assert!(
        log.contains("scan of the plugin directories overdue"),
        "{log}"
    );
    let version = home.run("version", b"");
    assert!(text(&version.stdout).contains("daemon v"), "{version:?}");
    let query = home.run("get web/token", b"");
    let stderr = text(&query.stderr);
    assert_eq!(query.status.code(), Some(5), "{stderr}");
    assert!(
        stderr.contains("the plugin directories do not respond"),
        "{stderr}"
    );
    let (status, log) = daemon.stop();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[test]
fn clients_of_a_socket_on_a_disk_that_hangs_end_in_time_with_a_reason() {
    if !can_hang() {
        return;
    }
    let home = Home::new();
    let socket = home.join(HUNG).join("daemon.sock");
    let started = home.join("started");
    let commands = [
        r#"exec "$0" get web/token"#,
        r#"exec "$0" ls"#,
        r#"exec "$0" plugins reload"#,
        r#"TOKEN=se://web/token exec "$0" run -- touch started"#,
    ];
    let outputs = outputs(commands.map(|script| {
        let mut command = with_hung_disk(&home, script);
        command.env("KEYWAY_SOCKET", &socket);
        command
    }));
    for (output, script) in outputs.iter().zip(commands) {
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(5), "{script}: {stderr}");
        let reason = "the file system did not respond within 2 s";
        assert!(stderr.contains(reason), "{script}: {stderr}");
    }
    assert!(!Path::new(&started).exists());
}

#[test]
fn calls_of_a_file_store_on_a_disk_that_hangs_end_in_time_and_say_what_is_known() {
    if !can_hang() {
        return;
    }
    let home = Home::new();
    let unknown = "keyway: it is not known whether web/token was changed: the file store DIR did not respond within 1 s.\n\
        Check that its disk responds, as with `ls` of that directory, then run `keyway versions web/token` to see what there is.\n";
    let unread = "keyway: web/token was not read and nothing was changed: the file store DIR did not respond within 1 s.\n\
        Check that its disk responds, as with `ls` of that directory, then try again.\n";
    let lines = [
        ("set web/token --generate", unknown),
        ("rm web/token --yes", unknown),
        ("restore web/token 1", unknown),
        ("mv web/token web/other", unread),
        ("versions web/token", unread),
        ("get web/token --version 1", unread),
    ];
    let outputs = outputs(lines.map(|(line, _)| {
        let script = format!(r#"exec "$0" {line} --store hung/store --timeout 1s"#);
        with_hung_disk(&home, &script)
    }));
    for (output, (line, expected)) in outputs.iter().zip(lines) {
        assert_eq!(text(&output.stderr), expected, "{line}");
        assert_eq!(output.status.code(), Some(5), "{line}");
    }
}

#[test]
fn writes_to_a_provider_whose_disk_hangs_end_in_time_and_say_what_is_known() {
    if !can_hang() {
        return;
    }
    let home = Home::new();
    let store = home.join(HUNG).join("store");
    let config = home.configure(&format!(
        "[plugins.file]\ntimeout = '2s'\nenv.KEYWAY_FILE_STORE = '{}'\n",
        store.display()
    ));
    let script = format!(r#"exec "$0" serve --config {}"#, config.display());
    let daemon = Daemon::start(&mut with_hung_disk(&home, &script));
    for line in ["set web/token --generate", "rm web/token --yes"] {
        let output = home.run(line, b"");
        let stderr = text(&output.stderr);
        let what = "keyway: it is not known whether web/token was changed: file took too long: ";
        assert!(stderr.starts_with(what), "{line}: {stderr}");
        let advice = "Run `keyway versions web/token` to see what there is.\n";
        assert!(stderr.ends_with(advice), "{line}: {stderr}");
        assert_eq!(output.status.code(), Some(5), "{line}");
    }
    let (status, log) = daemon.stop();
    assert_eq!(status.code(), Some(0), "{log}");
}
