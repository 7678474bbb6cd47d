//! Commands beside a daemon or a plugin that is stopped.

use std::process::{Output, Stdio};
use std::thread;

use keyway_test_support::process::children;
use keyway_test_support::text;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::Home;

#[test]
fn every_command_ends_with_5_if_the_daemon_does_not_answer() {
    let home = Home::new();
    let daemon = home.serve(&[]);
    daemon.signal(Signal::STOP);
    let started = home.join("started");
    let lines: [&[&str]; 8] = [
        &["get", "web/token"],
        &["get", "web/*", "--explain"],
        &["ls"],
        &["ls", "--fetch"],
        &["plugins"],
        &["plugins", "reload"],
        &["run", "--", "touch", started.to_str().unwrap()],
        &["get", "web/token", "--timeout", "100ms"],
    ];
    let run = |line: &[&str]| {
        let mut command = home.keyway(line);
        command.env("TOKEN", "se://web/token").stdin(Stdio::null());
        command.output().unwrap()
    };
    let outputs: Vec<Output> = thread::scope(|scope| {
        let running: Vec<_> = lines.iter().map(|line| scope.spawn(|| run(line))).collect();
        let outputs = running.into_iter().map(|output| output.join().unwrap());
        outputs.collect()
    });
    daemon.signal(Signal::CONT);
    let pid = daemon.id();
    let stopped = format!(
        "keyway: the daemon (process {pid}) does not answer, because it is stopped.\nContinue it with `kill -CONT {pid}`.\n"
    );
    for (line, output) in lines.iter().zip(&outputs) {
        assert_eq!(output.status.code(), Some(5), "{line:?}: {output:?}");
        assert_eq!(text(&output.stdout), "", "{line:?}");
        if !line.contains(&"--timeout") {
            assert_eq!(text(&output.stderr), stopped, "{line:?}");
        }
    }
    assert!(!started.exists());
    let (status, _) = daemon.stop();
    assert!(status.success());
}

#[test]
fn commands_name_a_provider_that_is_stopped_and_how_to_continue_it() {
    let home = Home::new();
    let config = home.configure("plugins.file.timeout = '1s'");
    let daemon = home.serve(&["--config", config.to_str().unwrap()]);
    home.set("web/token", b"dummy");
    let plugin = children(daemon.id().cast_signed());
    let plugin = plugin.into_iter().find(|pid| {
        let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline"));
        command.is_ok_and(|command| command.starts_with("keyway-plugin-file"))
    });
    let pid = plugin.expect("the provider runs");
    let signal = |signal| kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    signal(Signal::STOP);
    let stopped =
        format!("file took too long: no response within 1 s: its process {pid} is stopped.\n");
    let remedy = format!("file says: continue it with `kill -CONT {pid}`");
    for (line, what, advice) in [
        (
            "get web/token",
            format!("keyway: {stopped}"),
            remedy.clone(),
        ),
        (
            "set web/token --generate",
            format!("keyway: it is not known whether web/token was changed: {stopped}"),
            format!("{remedy}; then run `keyway versions web/token` to see what there is.\n"),
        ),
    ] {
        let output = home.run(line, b"");
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(5), "{line}: {stderr}");
        let rest = stderr
            .strip_prefix(&what)
            .unwrap_or_else(|| panic!("{line}: {stderr}"));
        assert!(rest.starts_with(&advice), "{line}: {stderr}");
    }
    signal(Signal::CONT);
    let (status, _) = daemon.stop();
    assert!(status.success());
}
