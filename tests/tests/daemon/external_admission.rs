//! Admission of external plugins, with its log lines and audit records.

use std::path::Path;

use keyway_resolver::ResolveError;
use keyway_rpc::Code;
use keyway_runtime::{AuditConfig, Config, ExternalPlugins, Sha256};
use keyway_test_support::log::Log;
use keyway_test_support::{WAIT_LIMIT, eventually};
use keyway_tests::daemon::{Home, plugin};
use keyway_tests::plugin::{connect, hijack};
use keyway_tests::{Behaviour, TestDaemon};

use crate::common::PLUGIN;
use crate::external::external;

/// Home with an audit log, and the log's path.
fn audited() -> (Home, Config, std::path::PathBuf) {
    let home = Home::new(PLUGIN);
    let mut config = home.config();
    let log = home.join("audit.jsonl");
    config.audit = Some(AuditConfig::new(&log));
    (home, config, log)
}

/// The first record of one action in the audit log, and how many there are.
fn record(log: &Path, action: &str) -> (serde_json::Value, usize) {
    eventually("a record", || {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let records = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"));
        let mut records = records.filter(|record: &serde_json::Value| record["action"] == action);
        let first = records.next().ok_or("none")?;
        Ok::<_, &str>((first, 1 + records.count()))
    })
}

#[tokio::test]
async fn an_external_registration_is_a_warning_and_an_audit_record() {
    let log = Log::capture();
    let (home, config, audit) = audited();
    let daemon = TestDaemon::with_config(home.into(), config);
    let plugin = external(&daemon, "outside").await.expect("registered");
    let pid = std::process::id();
    let executable = std::env::current_exe().expect("a path");
    let executable = executable.to_string_lossy();
    let lines = log.with("external plugin registered");
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
    let (record, n_records) = record(&audit, "register");
    assert_eq!(n_records, 1);
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
    let log = Log::capture();
    let (home, mut config, audit) = audited();
    plugin(&mut config, "pinned").sha256 = Some(Sha256::of(b"another file"));
    let daemon = TestDaemon::with_config(home.into(), config);
    let error = external(&daemon, "outside").await.expect_err("refused");
    assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
    assert!(error.message().contains("[external] allow"), "{error}");
    assert_eq!(log.with("external plugin refused").len(), 1);
    let (record, _) = record(&audit, "refuse");
    assert_eq!(record["plugin"], "outside", "{record}");
    assert_eq!(record["pid"], std::process::id());
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
        let ended = tokio::time::timeout(WAIT_LIMIT, connected.ended()).await;
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

/// Otherwise the first process that registers with the name of a listed module would allow everything.
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

fn named(names: &[&str]) -> ExternalPlugins {
    let names = names.iter().map(|name| name.parse().expect("a name"));
    ExternalPlugins::Named(names.collect())
}
