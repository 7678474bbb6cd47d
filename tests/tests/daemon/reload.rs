//! Reloads: when they return, their report, and their effect on a query in flight.

use std::sync::Arc;
use std::time::Duration;

use keyway_proto::keyway::v1::PluginState;
use keyway_proto::plugins::v1::RunStatus;
use keyway_resolver::{FailureKind, ResolveError};
use keyway_runtime::Config;
use keyway_tests::daemon::{Home, plugin, the_failure};
use keyway_tests::script::{Decision, QueryResponse, Script};
use keyway_tests::{DaemonProcess, TestDaemon};

use crate::common::{DAEMON, ID, PLUGIN, pair, provider, responding, start_pair, start_pair_in};

/// Makes `hi` hold each call until its script changes.
fn hold_hi(daemon: &TestDaemon) {
    daemon.home.change("hi", &responding(QueryResponse::Hold));
}

#[tokio::test]
async fn a_reload_returns_when_restarted_plugins_have_registered() {
    let daemon = start_pair().await;
    let mut held = provider("right");
    held.holds_registration = true;
    daemon.home.change("hi", &held);
    let report = {
        let mut reload = std::pin::pin!(daemon.reload_with(|config| {
            plugin(config, "hi").env.insert("ROUND".into(), "2".into());
        }));
        tokio::select! {
            biased;
            report = &mut reload => panic!("returned before hi has registered: {report:?}"),
            _ = daemon.home.wait_for_events("hi", "holds", 1) => {}
        }
        daemon.home.change("hi", &provider("right"));
        reload.await
    };
    assert_eq!(report.restarted, ["hi".parse().expect("a name")]);
    let hi = daemon.plugin("hi").await.expect("listed");
    assert_eq!(hi.run_status(), RunStatus::Running);
    daemon.stop().await;
}

#[tokio::test]
async fn a_reload_returns_when_a_restarted_plugin_has_failed() {
    let (home, mut config) = pair();
    config.restart.max_failures = 1;
    let daemon = start_pair_in((home, config)).await;
    let mut ending = provider("right");
    ending.exits_with = Some(78);
    daemon.home.change("hi", &ending);
    daemon
        .reload_with(|config| {
            plugin(config, "hi").env.insert("ROUND".into(), "2".into());
        })
        .await;
    // Exit status 78 means that another start is pointless.
    assert_eq!(daemon.status("hi").await.state(), PluginState::Failed);
    let error = daemon.value(ID).await.expect_err("its realm is known");
    assert_eq!(the_failure(&error).kind, FailureKind::Down);
    // `enable` starts it again.
    daemon.home.change("hi", &provider("right"));
    daemon.set_enabled("hi", true).await.expect("enabled");
    assert_eq!(daemon.value(ID).await.expect("a value"), "right");
    daemon.stop().await;
}

#[tokio::test]
async fn a_reload_reports_each_setting_that_changed() {
    let daemon = start_pair().await;
    let report = daemon
        .reload_with(|config| {
            plugin(config, "hi").priority = Some(5);
            plugin(config, "hi").timeout = Some(Duration::from_secs(30));
            config.allow_uids.insert(4711);
        })
        .await;
    for part in ["priority of hi: 10 -> 5", "timeout of hi", "allow_uids"] {
        assert!(
            report.changed.iter().any(|line| line.contains(part)),
            "no {part} in {:?}",
            report.changed
        );
    }
    assert!(report.restarted.is_empty(), "{report:?}");
    let report = daemon.reload().await;
    assert!(report.changed.is_empty(), "{report:?}");
    daemon.stop().await;
}

#[tokio::test]
async fn a_raised_timeout_applies_to_the_next_request() {
    let (home, mut config) = pair();
    plugin(&mut config, "hi").timeout = Some(Duration::from_millis(100));
    let daemon = start_pair_in((home, config)).await;
    hold_hi(&daemon);
    let error = daemon.value(ID).await.expect_err("too late");
    assert_eq!(the_failure(&error).kind, FailureKind::TimedOut);
    daemon
        .reload_with(|config| plugin(config, "hi").timeout = Some(Duration::from_secs(60)))
        .await;
    let n_queries = daemon.home.wait_for_events("hi", "queried", 1).await.len();
    let release = async {
        daemon
            .home
            .wait_for_events("hi", "queried", n_queries + 1)
            .await;
        daemon.home.change("hi", &provider("right"));
    };
    let (value, ()) = tokio::join!(daemon.value(ID), release);
    assert_eq!(value.expect("in time"), "right");
    daemon.stop().await;
}

/// The value of a query during which a reload changes the configuration: `hi` holds the call until the reload has returned.
async fn value_across_reload(
    daemon: &TestDaemon,
    change: impl FnOnce(&mut Config),
) -> Result<String, ResolveError> {
    hold_hi(daemon);
    let reload = async {
        daemon.home.wait_for_events("hi", "queried", 1).await;
        daemon.reload_with(change).await;
        daemon.home.change("hi", &provider("right"));
    };
    tokio::join!(daemon.value(ID), reload).0
}

/// The result is evaluated by the settings that are in force when it is returned.
#[tokio::test]
async fn a_query_in_flight_follows_the_ranks_of_a_reload() {
    let daemon = start_pair().await;
    let value = value_across_reload(&daemon, |config| plugin(config, "lo").priority = Some(20));
    assert_eq!(value.await.expect("a value"), "lower");
    daemon.stop().await;
}

#[tokio::test]
async fn a_query_in_flight_is_limited_to_the_realm_of_a_reload() {
    let daemon = start_pair().await;
    let realm = "db/open/**".parse().expect("a pattern");
    let value = value_across_reload(&daemon, |config| {
        plugin(config, "hi").realm = Some(vec![realm]);
    });
    assert_eq!(value.await.expect("a value"), "lower");
    daemon.stop().await;
}

#[tokio::test]
async fn a_query_in_flight_passes_the_modules_of_a_reload() {
    let daemon = start_pair().await;
    let gate = Script {
        is_module: true,
        decision: Decision::DenyAll,
        ..Script::default()
    };
    let value = value_across_reload(&daemon, |config| {
        daemon.home.play("gate", &gate);
        let name = "gate".parse().expect("a name");
        config.access_modules.insert(name);
    });
    let error = value.await.expect_err("denied");
    assert!(matches!(error, ResolveError::Denied { .. }), "{error:?}");
    daemon.stop().await;
}

#[tokio::test]
async fn an_invalid_configuration_keeps_the_old_one() {
    let home = Arc::new(Home::new(PLUGIN));
    home.play("hi", &provider("right"));
    let limited = "[plugins.hi]\nrealm = \"db/open/**\"\n";
    DaemonProcess::configure(&home, limited);
    let mut daemon = DaemonProcess::start(DAEMON, home, &[], rustix::process::geteuid().as_raw());
    daemon.wait_for("not_found", "get", ID).await;
    for text in ["[plugins.hi", "[plugins.hi]\nrealms = \"**\"\n"] {
        DaemonProcess::configure(&daemon.home, text);
        let reply = daemon.call("reload", "").await;
        assert!(!reply.is_ok(), "{reply:?}");
        assert!(reply.body.contains("config.toml:"), "{reply:?}");
        assert_eq!(daemon.call("get", ID).await.outcome(), "not_found");
    }
    DaemonProcess::configure(&daemon.home, "");
    daemon.reload();
    assert_eq!(daemon.call("get", ID).await.outcome(), "ok");
}
