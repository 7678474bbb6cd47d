//! Pinned executables: admission, refusals and their effect on queries.

use std::path::PathBuf;
use std::sync::Arc;

use keyway_proto::keyway::v1::PluginState;
use keyway_resolver::{FailureKind, ResolveError};
use keyway_rpc::Code;
use keyway_runtime::{AuditConfig, AuditFailure, Config, Sha256};
use keyway_test_support::log::Log;
use keyway_test_support::set_mode;
use keyway_tests::TestDaemon;
use keyway_tests::daemon::{Home, plugin, the_failure};

use crate::common::{ID, PLUGIN, pair};

/// [`pair`] with an audit log, and the path of the log.
fn audited_pair() -> (Arc<Home>, Config, PathBuf) {
    let (home, mut config) = pair();
    let audit = home.join("audit.jsonl");
    // A request waits until its record is written, with all that came before.
    let mut log = AuditConfig::new(&audit);
    log.on_failure = AuditFailure::Refuse;
    config.audit = Some(log);
    (home, config, audit)
}

fn checksum() -> Sha256 {
    Sha256::of(&std::fs::read(PLUGIN).expect("the plugin"))
}

#[tokio::test]
async fn a_mismatch_is_refused_logged_audited_and_not_retried() {
    let log = Log::capture();
    let (home, mut config, audit) = audited_pair();
    plugin(&mut config, "lo").sha256 = Some(checksum());
    let hi = plugin(&mut config, "hi");
    hi.sha256 = Some(Sha256::of(b"another file"));
    hi.realm = Some(vec!["db/**".parse().expect("a pattern")]);
    let daemon = TestDaemon::with_config(home, config);
    let status = daemon.wait_for_state("hi", PluginState::Refused).await;
    let message = status.message();
    assert!(!message.is_empty() && message.len() <= 160, "{message:?}");
    daemon.wait_for_running(&["lo"]).await;
    let error = daemon.value(ID).await.expect_err("uncertain");
    let failure = the_failure(&error);
    assert_eq!(
        (failure.name.as_str(), failure.kind),
        ("hi", FailureKind::Refused)
    );
    let error = daemon.set_enabled("hi", true).await.expect_err("refused");
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert!(error.message().contains("refused"), "{error}");
    let errors = log.with("plugin refused");
    assert!(
        errors.iter().all(|line| line.starts_with("ERROR")),
        "{errors:?}"
    );
    // Once at the start and once for `enable`: the daemon does not retry.
    assert_eq!(errors.len(), 2, "{errors:?}");
    let text = std::fs::read_to_string(&audit).expect("the audit log");
    let refusals = text
        .lines()
        .filter(|line| line.contains(r#""action":"refuse""#) && line.contains(r#""hi""#));
    assert!(refusals.count() >= 1, "{text}");
    // Without it, the lower provider decides.
    daemon.set_enabled("hi", false).await.expect("disabled");
    assert_eq!(daemon.value(ID).await.expect("a value"), "lower");
    daemon.stop().await;
}

#[tokio::test]
async fn a_pinned_file_that_changes_while_it_runs_is_refused_and_leaves_no_value() {
    let (home, mut config) = pair();
    home.remove("hi");
    home.copy("hi");
    config.watch = false;
    for name in ["hi", "lo"] {
        plugin(&mut config, name).sha256 = Some(checksum());
    }
    let daemon = TestDaemon::with_config(Arc::clone(&home), config);
    assert_eq!(daemon.value(ID).await.expect("a value"), "right");
    let other = home.join("other");
    let mut bytes = std::fs::read(PLUGIN).expect("the plugin");
    bytes.push(0);
    std::fs::write(&other, bytes).expect("written");
    set_mode(&other, 0o755);
    std::fs::rename(&other, home.plugin("hi")).expect("moved");
    daemon.reload().await;
    daemon.wait_for_state("hi", PluginState::Refused).await;
    let error = daemon.value(ID).await.expect_err("uncertain");
    assert_eq!(the_failure(&error).kind, FailureKind::Refused, "{error}");
    daemon.stop().await;
}

#[tokio::test]
async fn a_pinned_script_runs_by_its_own_bytes() {
    let home = Home::new(PLUGIN);
    let mut config = home.config();
    let script = format!("#!/bin/sh\nexec {PLUGIN}\n");
    home.install_script("script", &script);
    plugin(&mut config, "script").sha256 = Some(Sha256::of(script.as_bytes()));
    let daemon = TestDaemon::with_config(home.into(), config);
    assert_eq!(daemon.ids("script/key").await.len(), 1);
    daemon
        .reload_with(|config| plugin(config, "script").sha256 = Some(Sha256::of(b"another")))
        .await;
    daemon.wait_for_state("script", PluginState::Refused).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_plugin_without_a_pin_is_untrusted_or_refused_until_it_is_trusted() {
    let (home, mut config) = pair();
    plugin(&mut config, "lo").sha256 = Some(checksum());
    home.add("fresh");
    let daemon = TestDaemon::with_config(home, config);
    daemon.wait_for_running(&["lo"]).await;
    // `hi` has a table and no pin.
    let refused = daemon.wait_for_state("hi", PluginState::Refused).await;
    assert!(
        refused.message().contains("keyway plugins trust hi"),
        "{refused:?}"
    );
    // `fresh` has neither.
    daemon.wait_for_state("fresh", PluginState::Untrusted).await;
    let listed = daemon.plugin("fresh").await.expect("listed");
    assert!(listed.disabled() && !listed.configurable(), "{listed:?}");
    let error = daemon.get("fresh/key").await.expect_err("not found");
    assert!(
        matches!(error, ResolveError::NotFound { .. })
            && error.to_string().contains("fresh is untrusted"),
        "{error:?}"
    );
    let error = daemon
        .set_enabled("fresh", true)
        .await
        .expect_err("untrusted");
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert!(daemon.call("trust", "fresh").await.is_ok());
    assert_eq!(daemon.ids("fresh/key").await.len(), 1);
    assert!(daemon.call("trust", "hi").await.is_ok());
    assert_eq!(daemon.value(ID).await.expect("a value"), "right");
    assert!(daemon.call("untrust", "fresh").await.is_ok());
    daemon.wait_for_state("fresh", PluginState::Untrusted).await;
    let configured = daemon.call("untrust", "lo").await;
    assert_eq!(
        configured.outcome(),
        "failed_precondition",
        "{configured:?}"
    );
    daemon.stop().await;
}

#[tokio::test]
async fn a_plugin_file_that_another_user_can_write_is_refused_with_the_command() {
    let (home, mut config) = pair();
    home.remove("hi");
    home.copy("hi");
    plugin(&mut config, "hi").realm = Some(vec!["db/**".parse().expect("a pattern")]);
    let path = home.plugin("hi");
    set_mode(&path, 0o777);
    let daemon = TestDaemon::with_config(home, config);
    let refused = daemon.wait_for_state("hi", PluginState::Refused).await;
    assert!(refused.message().contains("chmod"), "{refused:?}");
    let error = daemon.value(ID).await.expect_err("uncertain");
    assert_eq!(the_failure(&error).kind, FailureKind::Refused, "{error}");
    set_mode(&path, 0o755);
    daemon.set_enabled("hi", true).await.expect("enabled");
    assert_eq!(daemon.value(ID).await.expect("a value"), "right");
    daemon.stop().await;
}
