//! External plugins: processes that connect to the daemon by themselves.

use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;

use keyway_proto::keyway::v1::PluginState;
use keyway_proto::plugins::v1::RunStatus;
use keyway_resolver::ResolveError;
use keyway_rpc::{Code, Error};
use keyway_runtime::{AuditConfig, Config, ExternalPlugins, Sha256};
use keyway_test_support::log::Log;
use keyway_tests::daemon::{Home, PATIENCE, behave, plugin};
use keyway_tests::plugin::{Plugin, connect, connect_scripted, hijack};
use keyway_tests::script::{Answer, Script};
use keyway_tests::{Behaviour, TestDaemon};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

const PLUGIN: &str = env!("CARGO_BIN_EXE_misbehaving-plugin");

/// Connects an external plugin that answers correctly.
async fn external(daemon: &TestDaemon, name: &str) -> Result<Plugin, Error> {
    let socket = hijack(daemon.address()).await.expect("hijacked");
    connect(name, Behaviour::Good, socket).await
}

#[tokio::test]
async fn an_external_plugin_answers_while_it_is_connected() {
    let daemon = TestDaemon::start(PLUGIN, &[]);
    let plugin = external(&daemon, "outside").await.expect("registered");
    assert_eq!(
        daemon.ids("outside/key").await,
        [("outside/key".to_owned(), "outside".to_owned())]
    );
    let listed = daemon.plugin("outside").await.expect("listed");
    assert!(
        listed.external() && listed.run_status() == RunStatus::Running,
        "{listed:?}"
    );
    plugin.leave().await;
    while daemon.plugin("outside").await.is_some() {
        tokio::task::yield_now().await;
    }
    assert!(matches!(
        daemon.get("outside/key").await,
        Err(ResolveError::NotFound { .. })
    ));
    daemon.stop().await;
}

#[tokio::test]
async fn l05_a_connected_or_launched_name_is_refused_to_another_plugin() {
    let home = Home::new(PLUGIN);
    let mut config = home.config();
    home.add("launched");
    behave(&mut config, "launched", Behaviour::NeverRegister);
    // Otherwise it could hold any id until it has registered, and every query would wait for it.
    let realm = "launched/**".parse().expect("a pattern");
    plugin(&mut config, "launched").realm = Some(vec![realm]);
    let daemon = TestDaemon::with_config(home.into(), config);
    let first = connect(
        "twin",
        Behaviour::Good,
        hijack(daemon.address()).await.expect("hijacked"),
    )
    .await;
    let first = first.expect("registered");
    for name in ["twin", "launched"] {
        let socket = hijack(daemon.address()).await.expect("hijacked");
        let error = connect(name, Behaviour::Good, socket)
            .await
            .expect_err("the name is taken");
        assert_eq!(error.code(), Code::AlreadyExists, "{error}");
    }
    // The plugin that has the name goes on answering.
    assert_eq!(daemon.ids("twin/key").await.len(), 1);
    first.leave().await;
    daemon.stop().await;
}

#[tokio::test]
async fn an_external_plugin_that_is_not_listed_is_refused() {
    let home = Home::new(PLUGIN);
    let mut config = home.config();
    config.external = named(&["welcome"]);
    let daemon = TestDaemon::with_config(home.into(), config);
    let error = external(&daemon, "stranger").await.expect_err("refused");
    assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
    assert!(error.message().contains("[external] allow"), "{error}");
    external(&daemon, "welcome")
        .await
        .expect("registered")
        .leave()
        .await;
    daemon.stop().await;
}

#[tokio::test]
async fn an_external_plugin_can_be_disabled_and_enabled() {
    let daemon = TestDaemon::start(PLUGIN, &[]);
    let plugin = external(&daemon, "outside").await.expect("registered");
    daemon
        .set_enabled("outside", false)
        .await
        .expect("disabled");
    // The daemon ends the connection.
    plugin.ended().await;
    let error = external(&daemon, "outside").await.expect_err("disabled");
    assert!(
        error.message().contains("keyway plugins enable outside"),
        "{error}"
    );
    assert!(
        daemon
            .plugin("outside")
            .await
            .expect("still listed")
            .disabled()
    );
    daemon.set_enabled("outside", true).await.expect("enabled");
    external(&daemon, "outside")
        .await
        .expect("registered")
        .leave()
        .await;
    daemon.stop().await;
}

/// The command that the refusal names works although no process of that name is connected.
#[tokio::test]
async fn a_disabled_external_plugin_can_be_enabled_after_a_restart_of_the_daemon() {
    let home = std::sync::Arc::new(Home::new(PLUGIN));
    let daemon = TestDaemon::with_config(home.clone(), home.config());
    let plugin = external(&daemon, "outside").await.expect("registered");
    daemon
        .set_enabled("outside", false)
        .await
        .expect("disabled");
    plugin.ended().await;
    daemon.stop().await;

    let daemon = TestDaemon::with_config(home.clone(), home.config());
    let error = external(&daemon, "outside")
        .await
        .expect_err("still disabled");
    assert!(
        error.message().contains("keyway plugins enable outside"),
        "{error}"
    );
    daemon.set_enabled("outside", true).await.expect("enabled");
    external(&daemon, "outside")
        .await
        .expect("registered")
        .leave()
        .await;
    let error = daemon
        .set_enabled("absent", true)
        .await
        .expect_err("unknown");
    assert_eq!(error.code(), Code::NotFound);
    daemon.stop().await;
}

/// Enabling a plugin that is still leaving frees its name all the same.
#[tokio::test]
async fn an_external_plugin_can_return_however_quickly_it_was_enabled() {
    let daemon = TestDaemon::start(PLUGIN, &[]);
    for _ in 0..10 {
        let plugin = external(&daemon, "outside").await.expect("registered");
        for enabled in [false, true] {
            daemon
                .set_enabled("outside", enabled)
                .await
                .expect("changed");
        }
        plugin.ended().await;
    }
    daemon.stop().await;
}

#[tokio::test]
async fn the_stop_of_the_daemon_disconnects_external_plugins_at_once() {
    let daemon = TestDaemon::start(PLUGIN, &[]);
    let plugin = external(&daemon, "outside").await.expect("registered");
    let (time, ()) = tokio::join!(daemon.stop(), plugin.ended());
    // An open stream, or a plugin that does not leave, would cost two seconds.
    assert!(time < std::time::Duration::from_secs(2), "{time:?}");
}

/// Nothing of it has to be waited for: neither the end of its connection at the daemon nor that the daemon forgets it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_external_plugin_can_leave_and_return_at_once() {
    let daemon = TestDaemon::start(PLUGIN, &[]);
    for round in 0..100 {
        let plugin = external(&daemon, "outside").await;
        let plugin = plugin.unwrap_or_else(|error| panic!("round {round}: {error}"));
        plugin.leave().await;
    }
    daemon.stop().await;
}

/// As when a user restarts it: the former process still answers a request.
#[tokio::test]
async fn a_plugin_that_returns_while_its_former_process_leaves_is_accepted() {
    let home = Home::new(PLUGIN);
    let mut script = Script {
        answer: Answer::Hold,
        ..Script::default()
    };
    home.change("outside", &script);
    let mut config = home.config();
    // A configured name is shown while it is absent.
    plugin(&mut config, "outside").priority = Some(0);
    let daemon = TestDaemon::with_config(home.into(), config);
    let connect_again = async || {
        let socket = hijack(daemon.address()).await.expect("hijacked");
        connect_scripted("outside", daemon.home.path(), socket).await
    };
    let former = connect_again().await.expect("registered");
    let leave = async {
        daemon.home.wait_for_events("outside", "asked", 1).await;
        former.leave().await;
    };
    let return_and_release = async {
        daemon.wait_for_state("outside", PluginState::Absent).await;
        script.answer = Answer::Secrets;
        let release = async { daemon.home.change("outside", &script) };
        tokio::join!(connect_again(), release).0
    };
    let (ids, (), returned) = tokio::join!(daemon.ids("outside/key"), leave, return_and_release);
    assert_eq!(ids.len(), 1);
    let returned = returned.expect("accepted");
    assert_eq!(daemon.ids("outside/key").await.len(), 1);
    returned.leave().await;
    daemon.stop().await;
}

/// The whole conversation of a registration in one write, the upgrade's request included: nothing behind it is lost.
#[tokio::test]
async fn bytes_behind_the_upgrade_request_are_not_lost() {
    let daemon = TestDaemon::start(PLUGIN, &[]);
    // The first bytes of a client are recorded from a session without a peer.
    let (near, far) = StdStream::pair().expect("a socket pair");
    for socket in [&near, &far] {
        socket.set_nonblocking(true).expect("non-blocking");
    }
    let near = UnixStream::from_std(near).expect("a socket");
    let mut far = UnixStream::from_std(far).expect("a socket");
    let client =
        tokio::spawn(async move { connect("eager", Behaviour::Good, near).await.map(drop) });
    let mut first_bytes = Vec::new();
    while !first_bytes.windows(8).any(|window| window == b"eager/**") {
        far.read_buf(&mut first_bytes)
            .await
            .expect("the registration");
    }
    let mut all =
        b"GET /hijack HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n".to_vec();
    all.extend_from_slice(&first_bytes);
    for cut in [all.len(), all.len() - first_bytes.len() + 1, 10] {
        let mut socket = UnixStream::connect(daemon.address().as_path().expect("a path"))
            .await
            .expect("connected");
        socket.write_all(&all[..cut]).await.expect("written");
        tokio::task::yield_now().await;
        socket.write_all(&all[cut..]).await.expect("written");
        let mut answer = Vec::new();
        while !answer.windows(7).any(|window| window == b"200 OK\r") {
            assert_ne!(
                socket.read_buf(&mut answer).await.expect("an answer"),
                0,
                "closed after {answer:?}"
            );
        }
        assert!(answer.starts_with(b"HTTP/1.1 101 "));
        drop(socket);
        while daemon.plugin("eager").await.is_some() {
            tokio::task::yield_now().await;
        }
    }
    client.abort();
    daemon.stop().await;
}

#[tokio::test]
async fn an_upgrade_without_its_headers_is_refused_with_the_reason() {
    let daemon = TestDaemon::start(PLUGIN, &[]);
    let mut socket = UnixStream::connect(daemon.address().as_path().expect("a path"))
        .await
        .expect("connected");
    socket
        .write_all(b"GET /hijack HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .expect("written");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("an answer");
    assert!(
        answer.starts_with("HTTP/1.1 426 ") && answer.contains("Upgrade: tcp"),
        "{answer}"
    );
    daemon.stop().await;
}

/// Home with an audit log, and the log's path.
fn audited() -> (Home, Config, std::path::PathBuf) {
    let home = Home::new(PLUGIN);
    let mut config = home.config();
    let log = home.path().join("audit.jsonl");
    config.audit = Some(AuditConfig::new(&log));
    (home, config, log)
}

/// The records of one action in the audit log.
fn records(log: &Path, action: &str) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let records = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    records
        .filter(|record: &serde_json::Value| record["action"] == action)
        .collect()
}

#[tokio::test]
async fn an_external_registration_is_a_warning_and_an_audit_record() {
    let kept = Log::capture();
    let (home, config, log) = audited();
    let daemon = TestDaemon::with_config(home.into(), config);
    let plugin = external(&daemon, "outside").await.expect("registered");
    let pid = std::process::id();
    let executable = std::env::current_exe().expect("a path");
    let executable = executable.to_string_lossy();
    let lines = kept.with("external plugin registered");
    assert_eq!(lines.len(), 1, "{lines:?}");
    let pid_field = format!("pid={pid}");
    for part in [
        "WARN",
        "plugin=outside",
        &pid_field,
        &executable,
        "outside/**",
    ] {
        assert!(lines[0].contains(part), "no {part} in {}", lines[0]);
    }
    let records = records(&log, "register");
    assert_eq!(records.len(), 1, "{records:?}");
    let record = &records[0];
    assert_eq!(record["plugin"], "outside");
    assert_eq!(record["pid"], pid);
    assert_eq!(record["executable"], &*executable);
    assert_eq!(record["detail"], "outside/**");
    plugin.leave().await;
    daemon.stop().await;
}

/// A pin of any plugin means that every plugin has to be named.
#[tokio::test]
async fn an_unnamed_external_plugin_is_refused_while_plugins_are_pinned() {
    let kept = Log::capture();
    let (home, mut config, log) = audited();
    plugin(&mut config, "pinned").sha256 = Some(Sha256::of(b"another file"));
    let daemon = TestDaemon::with_config(home.into(), config);
    let error = external(&daemon, "outside").await.expect_err("refused");
    assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
    assert!(error.message().contains("[external] allow"), "{error}");
    assert_eq!(kept.with("external plugin refused").len(), 1);
    let records = records(&log, "refuse");
    assert_eq!(records[0]["plugin"], "outside", "{records:?}");
    assert_eq!(records[0]["pid"], std::process::id());
    daemon
        .reload_with(|config| config.external = named(&["outside"]))
        .await;
    let plugin = external(&daemon, "outside").await.expect("named");
    plugin.leave().await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_reload_disconnects_external_plugins_that_it_does_not_admit() {
    let changes: [fn(&mut Config); 3] = [
        |config| config.external = ExternalPlugins::None,
        |config| config.external = named(&["another"]),
        |config| plugin(config, "pinned").sha256 = Some(Sha256::of(b"another file")),
    ];
    for change in changes {
        let daemon = TestDaemon::start(PLUGIN, &[]);
        let connected = external(&daemon, "outside").await.expect("registered");
        assert_eq!(daemon.ids("outside/key").await.len(), 1);
        let report = daemon.reload_with(change).await;
        assert!(!report.changed.is_empty(), "{report:?}");
        let ended = tokio::time::timeout(PATIENCE, connected.ended()).await;
        ended.expect("disconnected");
        daemon.get("outside/key").await.expect_err("disconnected");
        let refused = match hijack(daemon.address()).await {
            Ok(socket) => connect("outside", Behaviour::Good, socket).await.is_err(),
            Err(_) => true,
        };
        assert!(refused, "it came back");
        daemon.stop().await;
    }
}

#[tokio::test]
async fn an_external_provider_ranks_below_a_launched_one_of_equal_priority() {
    let home = Home::new(PLUGIN);
    let script = |value: &str| Script {
        pattern: Some("db/**".into()),
        secrets: Some([("db/password".to_owned(), value.to_owned())].into()),
        ..Script::default()
    };
    home.play("launched", &script("right"));
    home.change("a-outside", &script("lower"));
    let config = home.config();
    let daemon = TestDaemon::with_config(home.into(), config);
    daemon.wait_for("launched", RunStatus::Running).await;
    let socket = hijack(daemon.address()).await.expect("hijacked");
    let connected = connect_scripted("a-outside", daemon.home.path(), socket).await;
    let connected = connected.expect("registered");
    assert_eq!(daemon.value("db/password").await.expect("a value"), "right");
    assert_eq!(daemon.status("a-outside").await.rank, Some(2));
    connected.leave().await;
    daemon.stop().await;
}

/// The first process that takes the name of a listed module would open the gate.
#[tokio::test]
async fn an_external_module_decides_only_if_it_is_named() {
    let home = Home::new(PLUGIN);
    home.add("good");
    let mut config = home.config();
    config
        .access_modules
        .insert("guard".parse().expect("a name"));
    let daemon = TestDaemon::with_config(home.into(), config);
    let connect_guard = async || {
        let socket = hijack(daemon.address()).await.expect("hijacked");
        connect("guard", Behaviour::AccessControl, socket).await
    };
    let error = connect_guard().await.expect_err("refused");
    assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
    let error = daemon.get("good/key").await.expect_err("denied");
    assert!(matches!(error, ResolveError::Denied { .. }), "{error:?}");
    daemon
        .reload_with(|config| config.external = named(&["guard"]))
        .await;
    let guard = connect_guard().await.expect("named");
    assert_eq!(daemon.ids("good/key").await.len(), 1);
    let error = daemon.get("good/denied").await.expect_err("denied");
    assert!(matches!(error, ResolveError::Denied { .. }), "{error:?}");
    guard.leave().await;
    daemon
        .wait_for_status("guard", |status| status.pid.is_none())
        .await;
    let error = daemon.get("good/key").await.expect_err("denied");
    assert!(error.to_string().contains("guard"), "{error}");
    daemon.stop().await;
}

#[tokio::test]
async fn an_external_name_with_a_priority_is_a_warning_unless_it_is_listed() {
    let home = Home::new(PLUGIN);
    let mut config = home.config();
    plugin(&mut config, "outside").priority = Some(5);
    let daemon = TestDaemon::with_config(home.into(), config);
    let names_it =
        |warning: &String| warning.contains("outside") && warning.contains("[external] allow");
    let report = daemon.reload().await;
    assert!(
        report.warnings.iter().any(names_it),
        "{:?}",
        report.warnings
    );
    let report = daemon
        .reload_with(|config| config.external = named(&["outside"]))
        .await;
    assert!(
        !report.warnings.iter().any(names_it),
        "{:?}",
        report.warnings
    );
    daemon.stop().await;
}

fn named(names: &[&str]) -> ExternalPlugins {
    let names = names.iter().map(|name| name.parse().expect("a name"));
    ExternalPlugins::Named(names.collect())
}
