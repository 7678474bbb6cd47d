//! A query returns the value of the provider that ranks first, or none: while that provider starts, stops or is absent.

use std::sync::Arc;
use std::time::Duration;

use keyway_proto::plugins::v1::RunStatus;
use keyway_resolver::{FailureKind, ResolveError};
use keyway_test_support::WAIT_LIMIT;
use keyway_tests::TestDaemon;
use keyway_tests::daemon::{Home, plugin, the_failure};
use keyway_tests::plugin::hijack;
use keyway_tests::script::{QueryResponse, Script};
use rustix::process::{Signal, kill_process};

use crate::common::{ID, PLUGIN, pair, provider, start_pair};

/// Ten providers of one id and a query as soon as the daemon listens, with and without remembered registrations.
#[tokio::test]
async fn a_query_right_after_the_start_returns_the_value_of_the_first_rank() {
    let rounds = (0..5).map(|_| async {
        for _ in 0..10 {
            let home = Arc::new(Home::new(PLUGIN));
            let mut config = home.config();
            for priority in 1..=10 {
                let name = format!("p{priority}");
                let value = if priority == 10 { "right" } else { "lower" };
                home.play(&name, &provider(value));
                plugin(&mut config, &name).priority = Some(priority);
            }
            for _ in 0..2 {
                let daemon = TestDaemon::with_config(Arc::clone(&home), config.clone());
                assert_eq!(daemon.value(ID).await.expect("a value"), "right");
                daemon.stop().await;
            }
        }
    });
    futures::future::join_all(rounds).await;
}

#[tokio::test]
async fn a_query_waits_for_the_first_rank_and_not_for_a_lower_one() {
    let (home, mut config) = pair();
    let mut held = provider("right");
    held.holds_registration = true;
    home.change("hi", &held);
    // Without it `hi` could be an access-control module, which is waited for before any provider is called.
    plugin(&mut config, "hi").realm = Some(vec!["db/**".parse().expect("a pattern")]);
    let daemon = TestDaemon::with_config(Arc::clone(&home), config);
    daemon.wait_for_running(&["lo"]).await;
    home.wait_for_events("hi", "holds", 1).await;
    let release = async {
        // The lower provider has responded before the higher one starts.
        home.wait_for_events("lo", "queried", 1).await;
        home.change("hi", &provider("right"));
    };
    let (value, ()) = tokio::join!(daemon.value(ID), release);
    assert_eq!(value.expect("a value"), "right");
    // From now on the lower provider never responds, and no query waits for it.
    let mut silent = provider("lower");
    silent.response = QueryResponse::Hold;
    home.change("lo", &silent);
    assert_eq!(daemon.value(ID).await.expect("a value"), "right");
    daemon.stop().await;
}

#[tokio::test]
async fn a_first_rank_that_never_registers_leaves_no_value() {
    let (home, mut config) = pair();
    let mut held = provider("right");
    held.holds_registration = true;
    home.change("hi", &held);
    let realm = "db/**".parse().expect("a pattern");
    let hi = plugin(&mut config, "hi");
    hi.realm = Some(vec![realm]);
    hi.start_timeout = Some(Duration::from_millis(200));
    let daemon = TestDaemon::with_config(home, config);
    let error = daemon.value(ID).await.expect_err("uncertain");
    let failure = the_failure(&error);
    assert_eq!(failure.name, "hi");
    assert!(
        matches!(failure.kind, FailureKind::Starting | FailureKind::Down),
        "{failure:?}"
    );
    daemon.stop().await;
}

#[tokio::test]
async fn a_first_rank_that_ends_leaves_no_value_before_and_after_a_restart_of_the_daemon() {
    let (home, mut config) = pair();
    config.restart.max_failures = 1;
    let daemon = TestDaemon::with_config(Arc::clone(&home), config.clone());
    assert_eq!(daemon.value(ID).await.expect("a value"), "right");
    let mut ending = provider("right");
    ending.response = QueryResponse::Exit(3);
    home.change("hi", &ending);
    let error = daemon.value(ID).await.expect_err("it ended");
    assert_eq!(the_failure(&error).name, "hi");
    daemon.stop().await;

    ending.exits_with = Some(3);
    home.change("hi", &ending);
    let daemon = TestDaemon::with_config(home, config);
    for _ in 0..3 {
        let error = daemon.value(ID).await.expect_err("its realm is remembered");
        let failure = the_failure(&error);
        assert_eq!(
            (failure.name.as_str(), failure.kind),
            ("hi", FailureKind::Down)
        );
    }
    let error = daemon.get("**").await.expect_err("no certain id");
    assert_eq!(the_failure(&error).name, "hi");
    daemon.stop().await;
}

#[tokio::test]
async fn a_stopped_first_rank_is_uncertain_until_it_continues() {
    let (home, mut config) = pair();
    plugin(&mut config, "hi").timeout = Some(Duration::from_millis(300));
    let daemon = TestDaemon::with_config(home, config);
    assert_eq!(daemon.value(ID).await.expect("a value"), "right");
    let pid = daemon.pid("hi").await;
    kill_process(pid, Signal::STOP).expect("stopped");
    let error = daemon.value(ID).await.expect_err("uncertain");
    let failure = the_failure(&error);
    assert_eq!(
        (failure.name.as_str(), failure.kind),
        ("hi", FailureKind::TimedOut)
    );
    kill_process(pid, Signal::CONT).expect("continued");
    assert_eq!(daemon.value(ID).await.expect("a value"), "right");
    daemon.stop().await;
}

#[tokio::test]
async fn a_required_plugin_without_file_or_process_makes_every_id_uncertain() {
    let (home, mut config) = pair();
    plugin(&mut config, "gone").required = true;
    let daemon = TestDaemon::with_config(home, config);
    daemon.wait_for_running(&["hi"]).await;
    let error = daemon.get("other/id").await.expect_err("uncertain");
    let failure = the_failure(&error);
    assert_eq!(
        (failure.name.as_str(), failure.kind),
        ("gone", FailureKind::Down)
    );
    // A higher rank that has responded decides.
    assert_eq!(daemon.value(ID).await.expect("a value"), "right");
    daemon
        .set_enabled("gone", false)
        .await
        .expect("disabled although it is absent");
    assert!(matches!(
        daemon.get("other/id").await,
        Err(ResolveError::NotFound { .. })
    ));
    daemon.stop().await;
}

#[tokio::test]
async fn a_provider_that_is_enabled_is_waited_for_at_once() {
    let daemon = start_pair().await;
    for _ in 0..5 {
        daemon.set_enabled("hi", false).await.expect("disabled");
        assert_eq!(daemon.value(ID).await.expect("a value"), "lower");
        daemon.set_enabled("hi", true).await.expect("enabled");
        assert_eq!(daemon.value(ID).await.expect("a value"), "right");
    }
    daemon.stop().await;
}

/// A process that only connects might register any realm, yet no query waits for it.
#[tokio::test]
async fn a_silent_external_connection_is_not_waited_for() {
    let daemon = start_pair().await;
    let silent = hijack(daemon.address()).await.expect("hijacked");
    assert_eq!(daemon.value(ID).await.expect("a value"), "right");
    let error = daemon.get("other/id").await.expect_err("not found");
    assert!(matches!(error, ResolveError::NotFound { .. }), "{error:?}");
    drop(silent);
    daemon.stop().await;
}

/// The file is remembered, so that one broken plugin does not delay every start.
#[tokio::test]
async fn a_file_whose_first_start_failed_is_not_waited_for_at_the_next() {
    let (home, mut config) = pair();
    config.restart.max_failures = 1;
    let ending = Script {
        exits_with: Some(3),
        ..Script::default()
    };
    home.play("broken", &ending);
    let daemon = TestDaemon::with_config(Arc::clone(&home), config.clone());
    daemon.wait_for("broken", RunStatus::RetriesExceeded).await;
    daemon.stop().await;
    let held = Script {
        holds_registration: true,
        ..Script::default()
    };
    home.change("broken", &held);
    config.start_timeout = Duration::from_secs(600);
    let daemon = TestDaemon::with_config(Arc::clone(&home), config);
    let error = tokio::time::timeout(WAIT_LIMIT, daemon.get("other/id")).await;
    let error = error.expect("not waited for").expect_err("not found");
    assert!(matches!(error, ResolveError::NotFound { .. }), "{error:?}");
    daemon.stop().await;
}
