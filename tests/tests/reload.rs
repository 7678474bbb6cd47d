//! Reloads: when they return, what they report, and which settings judge a query that is in flight.

use std::sync::Arc;
use std::time::Duration;

use keyway_proto::keyway::v1::PluginState;
use keyway_proto::plugins::v1::RunStatus;
use keyway_resolver::{FailureKind, ResolveError};
use keyway_runtime::Config;
use keyway_tests::daemon::{Home, plugin, the_failure};
use keyway_tests::script::{Answer, Decision, Script};
use keyway_tests::{DaemonProcess, TestDaemon};

const PLUGIN: &str = env!("CARGO_BIN_EXE_misbehaving-plugin");
const DAEMON: &str = env!("CARGO_BIN_EXE_test-daemon");

const ID: &str = "db/password";

fn provider(value: &str) -> Script {
    Script {
        pattern: Some("db/**".into()),
        secrets: Some([(ID.to_owned(), value.to_owned())].into()),
        ..Script::default()
    }
}

fn pair() -> (Arc<Home>, Config) {
    let home = Home::new(PLUGIN);
    let mut config = home.config();
    home.play("hi", &provider("right"));
    home.play("lo", &provider("lower"));
    plugin(&mut config, "hi").priority = Some(10);
    (home.into(), config)
}

async fn start((home, config): (Arc<Home>, Config)) -> TestDaemon {
    let daemon = TestDaemon::with_config(home, config);
    for name in ["hi", "lo"] {
        daemon.wait_for(name, RunStatus::Running).await;
    }
    daemon
}

/// Lets `hi` answer no query until another script is played to it.
fn hold_hi(daemon: &TestDaemon) {
    let held = Script {
        answer: Answer::Hold,
        ..provider("right")
    };
    daemon.home.change("hi", &held);
}

#[tokio::test]
async fn a_reload_returns_when_restarted_plugins_have_registered() {
    let daemon = start(pair()).await;
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
    let daemon = start((home, config)).await;
    let mut ending = provider("right");
    ending.exits_with = Some(78);
    daemon.home.change("hi", &ending);
    daemon
        .reload_with(|config| {
            plugin(config, "hi").env.insert("ROUND".into(), "2".into());
        })
        .await;
    // Exit status 78 says that another start is pointless.
    assert_eq!(daemon.status("hi").await.state(), PluginState::Failed);
    let error = daemon.value(ID).await.expect_err("its realm is known");
    assert_eq!(the_failure(&error).kind, FailureKind::Down);
    // `enable` is the way back.
    daemon.home.change("hi", &provider("right"));
    daemon.set_enabled("hi", true).await.expect("enabled");
    assert_eq!(daemon.value(ID).await.expect("a value"), "right");
    daemon.stop().await;
}

#[tokio::test]
async fn a_reload_reports_each_setting_that_changed() {
    let daemon = start(pair()).await;
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
async fn a_raised_timeout_holds_for_the_next_request() {
    let (home, mut config) = pair();
    plugin(&mut config, "hi").timeout = Some(Duration::from_millis(100));
    let daemon = start((home, config)).await;
    hold_hi(&daemon);
    let error = daemon.value(ID).await.expect_err("too late");
    assert_eq!(the_failure(&error).kind, FailureKind::TimedOut);
    daemon
        .reload_with(|config| plugin(config, "hi").timeout = Some(Duration::from_secs(60)))
        .await;
    let n_asked = daemon.home.wait_for_events("hi", "asked", 1).await.len();
    let release = async {
        daemon
            .home
            .wait_for_events("hi", "asked", n_asked + 1)
            .await;
        daemon.home.change("hi", &provider("right"));
    };
    let (value, ()) = tokio::join!(daemon.value(ID), release);
    assert_eq!(value.expect("in time"), "right");
    daemon.stop().await;
}

/// The query is judged by the settings that are in force when it is answered.
#[tokio::test]
async fn a_query_in_flight_follows_the_ranks_of_a_reload() {
    let daemon = start(pair()).await;
    hold_hi(&daemon);
    let reload = async {
        daemon.home.wait_for_events("hi", "asked", 1).await;
        daemon
            .reload_with(|config| plugin(config, "lo").priority = Some(20))
            .await;
        daemon.home.change("hi", &provider("right"));
    };
    let (value, ()) = tokio::join!(daemon.value(ID), reload);
    assert_eq!(value.expect("a value"), "lower");
    daemon.stop().await;
}

#[tokio::test]
async fn a_query_in_flight_is_cut_by_the_realm_of_a_reload() {
    let daemon = start(pair()).await;
    hold_hi(&daemon);
    let reload = async {
        daemon.home.wait_for_events("hi", "asked", 1).await;
        let realm = "db/open/**".parse().expect("a pattern");
        daemon
            .reload_with(|config| plugin(config, "hi").realm = Some(vec![realm]))
            .await;
        daemon.home.change("hi", &provider("right"));
    };
    let (value, ()) = tokio::join!(daemon.value(ID), reload);
    assert_eq!(value.expect("a value"), "lower");
    daemon.stop().await;
}

#[tokio::test]
async fn a_query_in_flight_passes_the_modules_of_a_reload() {
    let daemon = start(pair()).await;
    hold_hi(&daemon);
    let gate = Script {
        is_module: true,
        decision: Decision::DenyAll,
        ..Script::default()
    };
    let reload = async {
        daemon.home.wait_for_events("hi", "asked", 1).await;
        daemon.home.play("gate", &gate);
        daemon
            .reload_with(|config| {
                config
                    .access_modules
                    .insert("gate".parse().expect("a name"));
            })
            .await;
        daemon.home.change("hi", &provider("right"));
    };
    let (value, ()) = tokio::join!(daemon.value(ID), reload);
    let error = value.expect_err("denied");
    assert!(matches!(error, ResolveError::Denied { .. }), "{error:?}");
    daemon.stop().await;
}

#[tokio::test]
async fn an_invalid_configuration_keeps_the_old_one() {
    let home = Arc::new(Home::new(PLUGIN));
    home.play("hi", &provider("right"));
    let limited = "[plugins.hi]\nrealm = \"db/open/**\"\n";
    DaemonProcess::configure(&home, limited);
    let daemon = DaemonProcess::start(DAEMON, home, &[], rustix::process::geteuid().as_raw()).await;
    daemon.wait_for("not_found", "get", ID).await;
    for text in ["[plugins.hi", "[plugins.hi]\nrealms = \"**\"\n"] {
        DaemonProcess::configure(&daemon.home, text);
        let reply = daemon.call("reload", "").await;
        assert!(!reply.is_ok(), "{reply:?}");
        assert!(reply.body.contains("config.toml:"), "{reply:?}");
        assert_eq!(daemon.call("get", ID).await.outcome(), "not_found");
    }
    DaemonProcess::configure(&daemon.home, "");
    daemon.reload().await;
    assert_eq!(daemon.call("get", ID).await.outcome(), "ok");
}
