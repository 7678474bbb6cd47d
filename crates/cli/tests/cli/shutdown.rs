//! The end of `keyway serve` by signals.

use keyway_test_support::{Daemon, eventually};
use rustix::process::Signal;

use crate::support::Home;

/// A daemon with a plugin that only SIGKILL stops, which the daemon sends after two seconds.
fn with_stubborn_plugin(home: &Home) -> Daemon {
    let script = "#!/bin/sh\ntrap '' INT TERM\necho trapped >&2\nwhile :; do sleep 1; done\n";
    home.install_script("stubborn", script);
    let mut daemon = home.serve(&["--plugin-dir", "plugins"]);
    daemon.expect("trapped");
    daemon
}

#[test]
fn a_second_signal_right_after_the_first_does_not_crash() {
    let home = Home::new();
    let daemon = home.serve(&[]);
    daemon.signal(Signal::INT);
    // The daemon is not reaped yet, so the second one has a target even if the daemon has ended.
    daemon.signal(Signal::INT);
    let (status, _) = daemon.wait();
    assert!(matches!(status.code(), Some(0 | 1)), "{status}");
}

#[test]
fn a_signal_stops_the_daemon_while_a_reload_waits_for_a_plugin() {
    let home = Home::new();
    let config = home.write("config.toml", "[plugins.mute]\nstart_timeout = \"10m\"\n");
    let config = config.to_str().unwrap();
    let mut daemon = home.serve(&["--plugin-dir", "plugins", "--config", config]);
    home.install_script("mute", "#!/bin/sh\necho running >&2\nexec sleep 600\n");
    daemon.signal(Signal::HUP);
    daemon.expect("running");
    let (status, log) = daemon.stop();
    assert_eq!(status.code(), Some(0), "{log}");
}

/// `timeout` signals its child and then the process group of both.
#[test]
fn two_signals_at_once_count_as_one() {
    let home = Home::new();
    let daemon = with_stubborn_plugin(&home);
    daemon.signal(Signal::TERM);
    daemon.signal(Signal::INT);
    let (status, log) = daemon.wait();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[test]
fn a_repeated_signal_stops_the_daemon_at_once() {
    let home = Home::new();
    let mut daemon = with_stubborn_plugin(&home);
    let status = eventually("the end of the daemon", || {
        daemon.signal(Signal::INT);
        daemon.try_wait().ok_or("it runs")
    });
    assert_eq!(status.code(), Some(1));
}
