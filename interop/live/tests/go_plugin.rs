//! Go plugins under `keyway serve`, launched and external, queried by a Go client.

use std::path::{Path, PathBuf};

use keyway_interop::{Daemon, GoPrograms, Home, Peer, Report, go_programs};
use keyway_test_support::wait_until;

/// The generations of the plugin SDK with the method `GetSecrets`.
const GENERATIONS: [&str; 4] = ["plugins", "register", "engine", "early-engine"];

/// The configuration that hands settings to a launched Go program.
fn settings(name: &str, report: &Path, more: &[(&str, &str)]) -> String {
    let mut env = vec![
        ("INTEROP_REPORT", report.to_str().expect("the path is text")),
        ("INTEROP_STREAM_OPEN_TIMEOUT", "1s"),
    ];
    env.extend(more);
    let pairs: Vec<String> = env
        .iter()
        .map(|(key, value)| format!("{key} = {value:?}"))
        .collect();
    format!("[plugins.{name}]\nenv = {{ {} }}\n", pairs.join(", "))
}

fn report_of(home: &Home, name: &str) -> PathBuf {
    home.join(format!("{name}.jsonl"))
}

/// A home with the Go plugin `demo` in its plugin directory.
fn home_with_demo(go: &GoPrograms, more: &[(&str, &str)]) -> Home {
    let home = Home::new();
    home.install(go.path("plugin"), "demo");
    home.configure(&settings("demo", &report_of(&home, "demo"), more));
    home
}

fn query(go: &GoPrograms, home: &Home, arguments: &[&str]) -> Report {
    let socket = home.socket();
    let mut all = vec!["-socket", socket.to_str().expect("the path is text")];
    all.extend(arguments);
    Peer::start(go, "client", home, &all).passed()
}

/// The plugin reports no fault: no handler was cancelled, and no stream was left open.
fn plugin_passed(home: &Home, name: &str) -> Report {
    let report = Report::read_to_end(&report_of(home, name));
    let summary = report.passed();
    assert_eq!(summary["cancelled"], 0, "{report}");
    assert_eq!(summary["streams_left"], 0, "{report}");
    report
}

#[test]
fn a_launched_plugin_of_each_generation_is_served() {
    let Some(go) = go_programs() else { return };
    for generation in GENERATIONS {
        let home = home_with_demo(&go, &[("INTEROP_GENERATION", generation)]);
        let daemon = Daemon::start(&home);
        daemon.wait_for_plugin("demo");
        query(
            &go,
            &home,
            &[
                "-each",
                "-management",
                "-old",
                "-slow",
                "64",
                "-big",
                "2",
                "-requests",
                "1000",
            ],
        );
        daemon.stop();
        let report = plugin_passed(&home, "demo");
        assert_eq!(
            report.event("registered").expect("it registered")["launched"],
            true
        );
        assert_eq!(report.summary()["ended_by"], "shutdown", "{report}");
    }
}

#[test]
fn twenty_thousand_requests_of_64_callers_succeed() {
    let Some(go) = go_programs() else { return };
    let home = home_with_demo(&go, &[]);
    let daemon = Daemon::start(&home);
    daemon.wait_for_plugin("demo");
    let report = query(&go, &home, &["-requests", "20000", "-callers", "64"]);
    assert_eq!(
        report.event("load").expect("the load was reported")["failed"],
        0
    );
    daemon.stop();
    let plugin = plugin_passed(&home, "demo");
    assert_eq!(plugin.summary()["requests"], 20_000, "{plugin}");
}

fn external(go: &GoPrograms, home: &Home, arguments: &[&str]) -> Peer {
    let mut plugin = Peer::start(go, "plugin", home, arguments);
    plugin.wait_for("runtime-probed");
    plugin
}

#[test]
fn an_external_plugin_of_each_generation_is_served() {
    let Some(go) = go_programs() else { return };
    for generation in GENERATIONS {
        let home = Home::new();
        let daemon = Daemon::start(&home);
        let socket = home.socket();
        let at = socket.to_str().expect("the path is text");
        let arguments = [
            "-socket",
            at,
            "-name",
            "demo",
            "-generation",
            generation,
            "-stream-open-timeout",
            "1s",
            "-register-twice",
        ];
        let plugin = external(&go, &home, &arguments);
        query(
            &go,
            &home,
            &["-each", "-old", "-slow", "64", "-requests", "1000"],
        );
        daemon.stop();
        let report = plugin.passed();
        let second = report.event("second-registration").expect("it tried again");
        assert_eq!(second["code"], "failed_precondition", "{report}");
        assert_eq!(report.summary()["ended_by"], "shutdown", "{report}");
    }
}

/// Peers built before March 2026 look for the daemon in other places.
#[test]
fn older_plugins_find_the_daemon_at_their_addresses() {
    let Some(go) = go_programs() else { return };
    for generation in ["register", "engine", "early-engine"] {
        let home = Home::new();
        let daemon = Daemon::start_with(&home, &["--listen-older"]);
        let mut command = home.command(go.path("plugin"));
        command
            .env_remove("KEYWAY_SOCKET")
            .env("XDG_RUNTIME_DIR", home.join("runtime"));
        command.args(["-name", "demo", "-generation", generation]);
        let mut plugin = Peer::start_in(command, "plugin", &home, &[]);
        plugin.wait_for("runtime-probed");
        query(&go, &home, &["-each", "-old", "-requests", "100"]);
        daemon.stop();
        plugin.passed();
    }
}

/// A plugin that stops while it serves calls sends GoAway, completes them, and then closes: no call fails.
#[test]
fn calls_in_flight_at_the_plugins_go_away_succeed() {
    let Some(go) = go_programs() else { return };
    let home = Home::new();
    let daemon = Daemon::start(&home);
    let socket = home.socket();
    let at = socket.to_str().expect("the path is text");
    let arguments = ["-socket", at, "-name", "demo"];
    let plugin = external(&go, &home, &arguments);
    let client = Peer::start(
        &go,
        "client",
        &home,
        &["-socket", at, "-slow", "8", "-requests", "0"],
    );
    wait_until("calls in flight", || {
        plugin.report().events("called").count() == 8
    });
    plugin.terminate();
    client.passed();
    let report = plugin.passed();
    assert_eq!(report.summary()["ended_by"], "terminated", "{report}");
    daemon.stop();
}

/// The plugin responds to Shutdown and keeps its connection, as SDKs of 2025 do: the daemon closes the connection.
#[test]
fn a_plugin_that_stays_after_shutdown_is_disconnected() {
    let Some(go) = go_programs() else { return };
    let home = home_with_demo(
        &go,
        &[("INTEROP_GENERATION", "engine"), ("INTEROP_STAY", "true")],
    );
    let daemon = Daemon::start(&home);
    daemon.wait_for_plugin("demo");
    query(&go, &home, &["-requests", "10"]);
    daemon.stop();
    let report = plugin_passed(&home, "demo");
    assert_eq!(report.summary()["ended_by"], "connection ended", "{report}");
}

#[test]
fn a_taken_name_is_refused() {
    let Some(go) = go_programs() else { return };
    let home = Home::new();
    let daemon = Daemon::start(&home);
    let socket = home.socket();
    let at = socket.to_str().expect("the path is text");
    let first = external(&go, &home, &["-socket", at, "-name", "demo"]);
    let arguments = [
        "-socket",
        at,
        "-name",
        "demo",
        "-expect-refusal",
        "already_exists",
    ];
    let mut second = Peer::start(&go, "plugin", &home, &arguments);
    let refusal = second.wait_for("registration-refused");
    assert!(
        refusal["message"]
            .as_str()
            .is_some_and(|text| text.contains("demo")),
        "{refusal}"
    );
    query(&go, &home, &["-requests", "10"]);
    daemon.stop();
    first.passed();
}

#[test]
fn an_invalid_registration_is_refused_with_its_code() {
    let Some(go) = go_programs() else { return };
    let home = Home::new();
    let daemon = Daemon::start(&home);
    let socket = home.socket();
    let at = socket.to_str().expect("the path is text");
    for (flag, value) in [
        ("-version", "1.2.3"),
        ("-pattern", "demo//**"),
        ("-name", &"n".repeat(257)),
    ] {
        let arguments = [
            "-socket",
            at,
            flag,
            value,
            "-expect-refusal",
            "invalid_argument",
        ];
        let mut plugin = Peer::start(&go, "plugin", &home, &arguments);
        let refusal = plugin.wait_for("registration-refused");
        assert!(
            refusal["message"]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "{refusal}"
        );
    }
    daemon.stop();
}

/// An id of another realm never reaches a client, for any query.
#[test]
fn an_id_of_another_realm_is_dropped() {
    let Some(go) = go_programs() else { return };
    let home = home_with_demo(&go, &[]);
    let mut daemon = Daemon::start(&home);
    daemon.wait_for_plugin("demo");
    let got = daemon.run(&["get", "demo/outside", "--json"]);
    assert_ne!(got.status.code(), Some(0));
    assert!(
        !String::from_utf8_lossy(&got.stdout).contains("elsewhere"),
        "{got:?}"
    );
    daemon.expect("realm violation");
    daemon.stop();
    plugin_passed(&home, "demo");
}

#[test]
fn an_access_control_module_decides() {
    let Some(go) = go_programs() else { return };
    let home = home_with_demo(&go, &[]);
    home.install(go.path("accesscontrol"), "guard");
    let demo = settings("demo", &report_of(&home, "demo"), &[]);
    let guard = settings("guard", &report_of(&home, "guard"), &[]);
    home.configure(&format!("{demo}{guard}[access]\nmodules = [\"guard\"]\n"));
    let daemon = Daemon::start(&home);
    daemon.wait_for_plugin("guard");
    daemon.wait_for_plugin("demo");
    query(&go, &home, &["-access", "-requests", "200"]);
    daemon.stop();
    plugin_passed(&home, "demo");
    let guard = plugin_passed(&home, "guard");
    assert!(guard.summary()["requests"].as_u64() > Some(200), "{guard}");
    let client = guard.event("check-access").expect("it was consulted");
    assert_eq!(client["name"], "client", "{guard}");
}

/// A plugin of July 2025 knows only `GetSecret`. It cannot be served, and the
/// daemon reports the remedy.
#[test]
fn the_oldest_plugin_is_stopped_with_a_reason() {
    let Some(go) = go_programs() else { return };
    let home = home_with_demo(
        &go,
        &[
            ("INTEROP_GENERATION", "oldest"),
            ("INTEROP_MIN_REQUESTS", "0"),
        ],
    );
    let mut daemon = Daemon::start(&home);
    daemon.wait_for_plugin("demo");
    let got = daemon.run(&["get", "demo/hit"]);
    assert_eq!(
        got.status.code(),
        Some(5),
        "{}",
        String::from_utf8_lossy(&got.stderr)
    );
    daemon.expect("rebuild it");
    daemon.stop();
}

#[test]
fn keep_alives_pass_in_both_directions() {
    let Some(go) = go_programs() else { return };
    let home = home_with_demo(&go, &[("INTEROP_KEEP_ALIVE", "50ms")]);
    let daemon = Daemon::start(&home);
    daemon.wait_for_plugin("demo");
    query(&go, &home, &["-slow", "1", "-requests", "10"]);
    daemon.stop();
    plugin_passed(&home, "demo");
}
