//! Plugin processes: launched with an inherited descriptor, and external at a daemon's socket.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use keyway_plugin_sdk::testing::TestDaemon;
use keyway_test_support::process::launch_plugin;
use keyway_test_support::require::can_run;
use keyway_test_support::{Home, Process, WAIT_LIMIT};
use rustix::process::Signal;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use super::common::{accept, text};

const LAUNCH_VARIABLE: &str = "DOCKER_SECRETS_ENGINE_PLUGIN_LAUNCH_CFG";

/// Returns the path of an executable of `examples/`, which Cargo builds together with the tests.
fn example(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let path = tests
        .parent()
        .and_then(Path::parent)
        .unwrap()
        .join("examples")
        .join(name);
    assert!(
        path.exists(),
        "{} is missing: run `cargo build --examples` first",
        path.display()
    );
    path
}

/// A plugin process. Dropped, it is killed.
struct Plugin(Process);

impl Plugin {
    /// Launches a plugin as a runtime does.
    fn launch(name: &str, config: &str) -> (Self, UnixStream) {
        Self::launch_with_log(name, config, "debug")
    }

    fn launch_with_log(name: &str, config: &str, level: &str) -> (Self, UnixStream) {
        let (process, socket) = launch_plugin(&example(name), config, |command| {
            prepare(command.env("UNRELATED", "kept"), level);
        });
        socket.set_nonblocking(true).unwrap();
        (Self(process), UnixStream::from_std(socket).unwrap())
    }

    /// Starts an external plugin, which looks for its daemon at the socket of a home.
    fn external(name: &str, home: &Home) -> Self {
        let mut command = Command::new(example(name));
        prepare(&mut command, "debug");
        command
            .env("KEYWAY_SOCKET", home.socket())
            .stdin(Stdio::null());
        Self(Process::spawn(&mut command))
    }

    /// Waits for the end, and returns the exit status, standard output and standard error.
    async fn finish(mut self) -> (ExitStatus, String, String) {
        let waiting = tokio::task::spawn_blocking(move || {
            let (mut stdout, mut stderr) = (String::new(), String::new());
            self.0.stdout().read_to_string(&mut stdout).unwrap();
            self.0.stderr().read_to_string(&mut stderr).unwrap();
            (self.0.wait(), stdout, stderr)
        });
        let ended = timeout(WAIT_LIMIT, waiting).await;
        ended.expect("the plugin ends").unwrap()
    }
}

/// Standard output and error become pipes; the log has this level.
fn prepare(command: &mut Command, level: &str) {
    command
        .env_remove("RUST_BACKTRACE")
        .env("RUST_LOG", level)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
}

fn config(name: &str) -> String {
    format!(r#"{{"name":"{name}","timeout":5000000000,"fd":3}}"#)
}

#[tokio::test]
async fn l06_p01_a_launched_plugin_has_the_name_of_its_launch_and_exits_with_its_daemon() {
    let (plugin, stream) = Plugin::launch("greeting", &config("hello"));
    let daemon = TestDaemon::builder().attach(stream).await.unwrap();
    assert_eq!(daemon.registration().name, "hello");
    assert_eq!(text(&daemon, "demo/greeting").await, "hello");
    drop(daemon);
    let (status, stdout, stderr) = plugin.finish().await;
    assert_eq!(status.code(), Some(0), "{stderr}");
    assert_eq!(stdout, "");
}

#[tokio::test]
async fn l13_the_launch_variable_is_removed_and_other_variables_are_kept() {
    let (plugin, stream) = Plugin::launch("inherited", &config("inherited"));
    let daemon = TestDaemon::builder().attach(stream).await.unwrap();
    let environment = text(&daemon, "inherited/environment").await;
    assert!(environment.contains("UNRELATED=kept"), "{environment}");
    assert!(!environment.contains(LAUNCH_VARIABLE), "{environment}");
    daemon.stop().await;
    assert_eq!(plugin.finish().await.0.code(), Some(0));
}

#[tokio::test]
async fn l15_a_child_of_a_plugin_inherits_no_descriptor() {
    let (plugin, stream) = Plugin::launch("inherited", &config("inherited"));
    let daemon = TestDaemon::builder().attach(stream).await.unwrap();
    let descriptors = text(&daemon, "inherited/descriptors").await;
    // Neither the connection nor the event loop. (A descriptor that the test's own parent leaks does not count.)
    for kind in ["socket:", "anon_inode:"] {
        assert!(!descriptors.contains(kind), "{descriptors}");
    }
    assert!(
        descriptors.contains("3 -> /proc/"),
        "descriptor 3 is free for `ls` itself: {descriptors}"
    );
    daemon.stop().await;
    assert_eq!(plugin.finish().await.0.code(), Some(0));
}

#[tokio::test]
async fn l18_standard_output_belongs_to_the_provider() {
    let (plugin, stream) = Plugin::launch("inherited", &config("inherited"));
    let daemon = TestDaemon::builder().attach(stream).await.unwrap();
    assert!(!text(&daemon, "inherited/descriptors").await.is_empty());
    daemon.stop().await;
    let (_, stdout, _) = plugin.finish().await;
    assert_eq!(stdout, "query for inherited/descriptors\n");
}

#[tokio::test]
async fn l09_sigint_and_sigterm_end_a_plugin_gracefully() {
    for signal in [Signal::INT, Signal::TERM] {
        let (plugin, stream) = Plugin::launch("greeting", &config("greeting"));
        let daemon = TestDaemon::builder().attach(stream).await.unwrap();
        plugin.0.signal(signal);
        let (status, _, stderr) = plugin.finish().await;
        assert_eq!(
            (status.code(), status.signal()),
            (Some(0), None),
            "{stderr}"
        );
        drop(daemon);
    }
}

#[tokio::test]
async fn p02_an_invalid_launch_ends_with_78_and_the_reason() {
    for (config, expected) in [
        ("{}", "gives the plugin no name"),
        ("nonsense", "is not the expected JSON object"),
        (
            r#"{"name":"x","timeout":5000000000,"fd":9}"#,
            "the inherited descriptor 9 that",
        ),
    ] {
        let (plugin, _stream) = Plugin::launch("greeting", config);
        let (status, _, stderr) = plugin.finish().await;
        assert_eq!(status.code(), Some(78));
        assert!(
            stderr.starts_with("ERROR ") && stderr.contains(expected),
            "{stderr}"
        );
    }
}

#[tokio::test]
async fn a_plugin_disconnects_from_a_daemon_that_does_not_respond_to_the_registration() {
    let (plugin, stream) = Plugin::launch("greeting", r#"{"name":"x","timeout":50000000,"fd":3}"#);
    let (status, _, stderr) = plugin.finish().await;
    drop(stream);
    assert_eq!(status.code(), Some(1));
    assert!(
        stderr.contains("ERROR the daemon did not respond to the registration of `x` within 0.1 s"),
        "{stderr}"
    );
}

#[tokio::test]
async fn p01_an_external_plugin_finds_its_daemon() {
    let home = Home::new();
    let listener = UnixListener::bind(home.socket()).unwrap();
    let plugin = Plugin::external("greeting", &home);
    let daemon = accept(&listener).await;
    assert_eq!(
        daemon.registration().name,
        "greeting",
        "the name of the executable"
    );
    assert_eq!(text(&daemon, "demo/greeting").await, "hello");
    drop(daemon);
    let (status, _, stderr) = plugin.finish().await;
    assert_eq!(status.code(), Some(0), "{stderr}");
}

#[tokio::test]
async fn p02_without_a_daemon_a_plugin_names_the_addresses() {
    let home = Home::new();
    let (status, _, stderr) = Plugin::external("greeting", &home).finish().await;
    assert_eq!(status.code(), Some(1));
    let expected = format!(
        "ERROR no daemon of this user is listening ({}: no such file or directory); start one with `keyway serve`, or set KEYWAY_SOCKET\n",
        home.socket().display()
    );
    assert_eq!(stderr, expected);
}

#[tokio::test]
async fn l22_a_plugin_that_reconnects_waits_for_its_daemon() {
    let home = Home::new();
    let plugin = Plugin::external("inherited", &home);
    for round in 0..2 {
        let listener = UnixListener::bind(home.socket()).unwrap();
        let daemon = accept(&listener).await;
        assert_eq!(daemon.registration().name, "inherited");
        assert!(
            text(&daemon, "inherited/environment")
                .await
                .contains("KEYWAY_SOCKET=")
        );
        match round {
            // A daemon that stops calls `Shutdown`, one that is killed does not.
            0 => daemon.stop().await,
            _ => drop(daemon),
        }
        std::fs::remove_file(home.socket()).unwrap();
    }
    plugin.0.signal(Signal::TERM);
    let (status, _, stderr) = plugin.finish().await;
    assert_eq!(status.code(), Some(0), "{stderr}");
    assert!(
        stderr.contains("disconnected from the daemon; reconnecting"),
        "{stderr}"
    );
}

#[tokio::test]
async fn a_plugin_works_with_blocked_and_ignored_signals_and_closed_standard_streams() {
    let env = "exec env --block-signal --ignore-signal=CHLD,INT,TERM,PIPE";
    let mut probe = Command::new("sh");
    probe.args(["-c", &format!("{env} true")]);
    if !can_run("env --block-signal", &mut probe) {
        return;
    }
    for signal in [Signal::INT, Signal::TERM] {
        let home = Home::new();
        let listener = UnixListener::bind(home.socket()).unwrap();
        let mut command = Command::new("sh");
        prepare(&mut command, "debug");
        command
            .args(["-c", &format!(r#"{env} "$0" <&- >&- 2>&-"#)])
            .arg(example("inherited"))
            .env("KEYWAY_SOCKET", home.socket());
        let plugin = Plugin(Process::spawn(&mut command));
        let daemon = accept(&listener).await;
        let environment = text(&daemon, "inherited/environment").await;
        assert!(environment.contains("KEYWAY_SOCKET="), "{environment}");
        plugin.0.signal(signal);
        let (status, _, stderr) = plugin.finish().await;
        assert_eq!(status.code(), Some(0), "{signal:?}: {stderr}");
    }
}

#[tokio::test]
async fn a_plugin_process_cannot_be_dumped() {
    let (plugin, stream) = Plugin::launch("greeting", &config("greeting"));
    let daemon = TestDaemon::builder().attach(stream).await.unwrap();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", plugin.0.id())).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(
        core.split_whitespace().collect::<Vec<_>>()[4..6],
        ["0", "0"]
    );
    use std::os::unix::fs::MetadataExt;
    // The files of an undumpable process belong to root.
    let owner = std::fs::metadata(format!("/proc/{}/environ", plugin.0.id()))
        .unwrap()
        .uid();
    assert_eq!(owner, 0);
    daemon.stop().await;
    assert_eq!(plugin.finish().await.0.code(), Some(0));
}

#[tokio::test]
async fn l17_l19_a_panic_names_its_place_and_no_value() {
    let (plugin, stream) = Plugin::launch("panicking", &config("panicking"));
    let daemon = TestDaemon::builder().attach(stream).await.unwrap();
    for id in ["panic/here", "panic/elsewhere"] {
        let error = daemon.get(id).await.unwrap_err();
        assert_eq!(error.kind(), keyway_plugin_sdk::ErrorKind::Internal);
        assert!(error.message().contains("panicked"), "{error}");
    }
    assert_eq!(text(&daemon, "panic/not").await, "not-a-real-secret");
    daemon.stop().await;
    let (status, _, stderr) = plugin.finish().await;
    assert_eq!(status.code(), Some(0));
    assert_eq!(
        stderr.matches("ERROR the plugin panicked at ").count(),
        2,
        "{stderr}"
    );
    assert!(stderr.contains("examples/panicking.rs:"), "{stderr}");
    assert_no_value(&stderr);
}

/// The log contains the value neither as text nor as a list of numbers.
fn assert_no_value(log: &str) {
    assert!(!log.contains("not-a-real-secret"), "{log}");
    assert!(!log.contains("110, 111, 116, 45"), "{log}");
}

#[tokio::test]
async fn l17_a_log_of_every_level_contains_no_value() {
    let (plugin, stream) = Plugin::launch_with_log("panicking", &config("panicking"), "trace");
    let daemon = TestDaemon::builder().attach(stream).await.unwrap();
    assert_eq!(text(&daemon, "panic/not").await, "not-a-real-secret");
    daemon.stop().await;
    let (_, _, log) = plugin.finish().await;
    assert!(log.contains("registered"), "it does log: {log}");
    assert_no_value(&log);
}

#[tokio::test]
async fn a_full_stderr_delays_neither_calls_nor_the_end() {
    let (mut log, mut full) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&full, true).unwrap();
    while full.write(&[b'.'; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&full, false).unwrap();
    let (process, stream) = launch_plugin(&example("panicking"), &config("panicking"), |command| {
        prepare(command, "trace");
        command.stderr(full);
    });
    stream.set_nonblocking(true).unwrap();
    let stream = UnixStream::from_std(stream).unwrap();
    let daemon = TestDaemon::builder().attach(stream).await.unwrap();
    for _ in 0..100 {
        assert_eq!(text(&daemon, "panic/not").await, "not-a-real-secret");
        daemon.get("panic/here").await.unwrap_err();
    }
    daemon.stop().await;
    let mut process = process;
    assert!(process.wait().success());
    let mut text = String::new();
    log.read_to_string(&mut text).unwrap();
    assert_eq!(text.trim_start_matches('.'), "", "nothing was written");
}

#[tokio::test]
async fn p03_the_test_kit_passes_the_environment_that_a_daemon_passes() {
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    let builder = TestDaemon::builder().variable("ADDED", "by the test");
    let daemon = builder.launch(example("inherited")).await.unwrap();
    let environment = text(&daemon, "inherited/environment").await;
    let names: Vec<&str> = environment
        .lines()
        .filter_map(|line| Some(line.split_once('=')?.0))
        .collect();
    assert!(names.contains(&"ADDED") && names.contains(&"PATH"));
    for name in names {
        // The shell that moves the descriptor adds the others.
        let is_expected = keyway_proto::is_inherited_variable(name)
            || ["ADDED", "PWD", "OLDPWD", "SHLVL", "_"].contains(&name);
        assert!(is_expected, "{name} is not passed by a daemon");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn p03_the_test_kit_launches_an_executable() {
    let daemon = TestDaemon::builder()
        .name("kit")
        .launch(example("greeting"))
        .await
        .unwrap();
    assert_eq!(daemon.registration().name, "kit");
    assert_eq!(text(&daemon, "demo/greeting").await, "hello");
    daemon.stop().await;
    let error = TestDaemon::builder().launch("/bin/true").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the daemon closed the connection before `test` was registered"
    );
}
