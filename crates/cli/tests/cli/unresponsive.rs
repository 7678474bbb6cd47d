//! Commands beside a daemon that is stopped.

use std::process::{Output, Stdio};
use std::thread;

use keyway_test_support::text;
use rustix::process::Signal;

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
