//! Keyway's plugins under a Go runtime.

use std::path::Path;
use std::process::Command;

use keyway_interop::{
    GoPrograms, Home, Peer, Report, go_programs, keyway, rust_program, start_external,
};
use keyway_test_support::{feed, text};

fn launch(go: &GoPrograms, home: &Home, executable: &Path, arguments: &[&str]) -> Report {
    let executable = executable.to_str().expect("the path is text");
    let mut all = vec!["-exec", executable];
    all.extend(arguments);
    Peer::start(go, "runtime", home, &all).passed()
}

/// The Go side waits 2 s for open streams, and then counts them.
fn stopped_cleanly(report: &Report) {
    assert_eq!(report.summary()["streams_left"], 0, "{report}");
    assert!(report.summary().get("exit").is_none(), "{report}");
}

fn demo() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

#[test]
fn a_launched_plugin_serves_every_method() {
    let Some(go) = go_programs() else { return };
    let report = launch(
        &go,
        &Home::new(),
        demo(),
        &["-each", "-slow", "64", "-requests", "500"],
    );
    stopped_cleanly(&report);
}

#[test]
fn a_launched_plugin_serves_20_000_requests_of_64_callers() {
    let Some(go) = go_programs() else { return };
    let arguments = ["-requests", "20000", "-callers", "64"];
    let report = launch(&go, &Home::new(), demo(), &arguments);
    let load = report.event("load").expect("the load was reported");
    assert_eq!(load["failed"], 0);
    assert_eq!(load["requests"], 20_000);
    stopped_cleanly(&report);
}

#[test]
fn a_launched_plugin_sends_large_values() {
    let Some(go) = go_programs() else { return };
    let arguments = ["-big", "8", "-requests", "64"];
    stopped_cleanly(&launch(&go, &Home::new(), demo(), &arguments));
}

#[test]
fn calls_in_flight_at_the_runtimes_go_away_succeed() {
    let Some(go) = go_programs() else { return };
    let report = launch(&go, &Home::new(), demo(), &["-requests", "10", "-goaway"]);
    assert_eq!(
        report.event("goaway-in-flight").expect("it was sent")["calls"],
        8
    );
    stopped_cleanly(&report);
}

#[test]
fn a_shutdown_waits_for_the_call_in_flight_and_no_longer() {
    let Some(go) = go_programs() else { return };
    let arguments = ["-requests", "10", "-end", "shutdown-in-flight"];
    let report = launch(&go, &Home::new(), demo(), &arguments);
    stopped_cleanly(&report);
}

#[test]
fn a_plugin_ends_with_its_runtime() {
    let Some(go) = go_programs() else { return };
    for end in ["eof", "interrupt"] {
        launch(&go, &Home::new(), demo(), &["-requests", "10", "-end", end]);
    }
}

#[test]
fn keep_alives_are_acknowledged() {
    let Some(go) = go_programs() else { return };
    let arguments = ["-requests", "1", "-keep-alive", "50ms", "-idle", "1s"];
    launch(&go, &Home::new(), demo(), &arguments);
}

/// The plugin writes the reason to standard error and exits with 1.
#[test]
fn a_refused_plugin_exits_at_once() {
    let Some(go) = go_programs() else { return };
    let report = launch(&go, &Home::new(), demo(), &["-refuse"]);
    assert_eq!(
        report.event("registration").expect("it tried")["code"],
        "already_exists"
    );
    assert_eq!(report.summary()["exit"], "exit status 1");
}

#[test]
fn an_external_plugin_accepts_the_status_line_of_either_acceptor() {
    let Some(go) = go_programs() else { return };
    for acceptor in ["-reference-acceptor=false", "-reference-acceptor=true"] {
        let home = Home::new();
        let socket = home.socket();
        let at = socket.to_str().expect("the path is text");
        let arguments = [
            "-listen",
            at,
            acceptor,
            "-each",
            "-slow",
            "8",
            "-requests",
            "2000",
            "-goaway",
        ];
        let mut runtime = Peer::start(&go, "runtime", &home, &arguments);
        runtime.wait_for("ready");
        let mut plugin = start_external(&home, demo());
        let report = runtime.passed();
        assert!(plugin.wait().success(), "the plugin failed");
        stopped_cleanly(&report);
    }
}

fn module_launched(go: &GoPrograms, home: &Home) -> Report {
    launch(
        go,
        home,
        Path::new(env!("CARGO_BIN_EXE_guard")),
        &["-requests", "0", "-module"],
    )
}

#[test]
fn an_access_control_module_is_consulted() {
    let Some(go) = go_programs() else { return };
    let report = module_launched(&go, &Home::new());
    assert_eq!(
        report.event("registration").expect("it registers")["module"],
        true
    );
    stopped_cleanly(&report);
}

/// Computed by `sha256sum`, so that no value passes through the tests' reports.
fn sha256(bytes: &[u8], home: &Home) -> String {
    let file = home.join("value");
    std::fs::write(&file, bytes).expect("the folder is ours");
    let output = Command::new("sha256sum")
        .arg(&file)
        .output()
        .expect("coreutils are there");
    let text = String::from_utf8(output.stdout).expect("a digest is text");
    text.split(' ')
        .next()
        .expect("the digest comes first")
        .to_owned()
}

#[test]
fn the_file_plugin_serves_its_store() {
    let Some(go) = go_programs() else { return };
    let home = Home::new();
    let value = b"not\0a real\xff token";
    let mut set = home.command(keyway());
    let set = feed(
        set.args(["set", "team/api/token", "--store", "store"]),
        value,
    );
    assert!(set.status.success(), "{}", text(&set.stderr));

    let file = rust_program("keyway-plugin-file", "file");
    let store = format!("KEYWAY_FILE_STORE={}", home.join("store").display());
    let want = format!("team/api/token={}:{}", value.len(), sha256(value, &home));
    let arguments = [
        "-env",
        &store,
        "-want",
        &want,
        "-requests",
        "20000",
        "-callers",
        "64",
    ];
    let report = launch(&go, &home, &file, &arguments);
    assert_eq!(
        report.event("load").expect("the load was reported")["failed"],
        0
    );
    stopped_cleanly(&report);
}

/// The reference sets the launch variable alone, not even `HOME`: the plugin must still find its store.
#[test]
fn the_file_plugin_needs_no_environment() {
    let file = rust_program("keyway-plugin-file", "file");
    let output = Command::new(file)
        .env_clear()
        .env("KEYWAY_SOCKET", "/nonexistent/daemon.sock")
        .output()
        .expect("the plugin can be started");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        errors.contains("no daemon of this user is listening"),
        "{errors}"
    );
}
