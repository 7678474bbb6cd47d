//! A query returns the value of the provider that ranks first, or none: while that provider starts, restarts, is replaced, stops,
//! crashes or is absent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use keyway_proto::keyway::v1::PluginState;
use keyway_proto::plugins::v1::RunStatus;
use keyway_resolver::{FailureKind, ResolveError};
use keyway_runtime::Config;
use keyway_tests::TestDaemon;
use keyway_tests::daemon::{Home, PATIENCE, plugin, the_failure};
use keyway_tests::plugin::{connect_scripted, hijack};
use keyway_tests::script::{Answer, Script};
use rustix::process::{Signal, kill_process};

const PLUGIN: &str = env!("CARGO_BIN_EXE_misbehaving-plugin");

const ID: &str = "db/password";

/// A provider of one value of [`ID`], with the realm `db/**`.
fn provider(value: &str) -> Script {
    Script {
        pattern: Some("db/**".into()),
        secrets: Some(BTreeMap::from([(ID.to_owned(), value.to_owned())])),
        ..Script::default()
    }
}

/// A home with `hi`, which ranks first, and `lo`; both hold [`ID`], with the values `right` and `lower`.
fn pair() -> (Arc<Home>, Config) {
    let home = Home::new(PLUGIN);
    let mut config = home.config();
    home.play("hi", &provider("right"));
    home.play("lo", &provider("lower"));
    plugin(&mut config, "hi").priority = Some(10);
    (home.into(), config)
}

async fn start_pair() -> TestDaemon {
    let (home, config) = pair();
    let daemon = TestDaemon::with_config(home, config);
    for name in ["hi", "lo"] {
        daemon.wait_for(name, RunStatus::Running).await;
    }
    daemon
}

/// What a client received that asked without a pause while something happened.
#[derive(Debug, Default)]
struct Received {
    n_right: usize,
    errors: Vec<ResolveError>,
}

/// Asks without a pause until `work` is done, and once more.
///
/// # Panics
///
/// If a response holds another value than that of the provider that ranks first.
async fn while_asking(daemon: &TestDaemon, work: impl Future<Output = ()>) -> Received {
    let mut received = Received::default();
    let mut work = std::pin::pin!(work);
    let mut is_done = false;
    while !is_done {
        is_done = tokio::select! {
            biased;
            () = &mut work => true,
            () = tokio::task::yield_now() => false,
        };
        match daemon.value(ID).await {
            Ok(value) => {
                assert_eq!(value, "right");
                received.n_right += 1;
            }
            Err(error) => received.errors.push(error),
        }
    }
    received
}

/// Every error must name `hi` with one of these kinds.
fn assert_kinds(received: &Received, kinds: &[FailureKind]) {
    for error in &received.errors {
        let failure = the_failure(error);
        assert!(
            failure.name == "hi" && kinds.contains(&failure.kind),
            "{error:?}"
        );
    }
}

/// Ten providers of one id and a query as soon as the daemon listens, with and without remembered registrations.
#[tokio::test]
async fn a_query_at_the_first_instant_gets_the_value_of_the_first_rank() {
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
    daemon.wait_for("lo", RunStatus::Running).await;
    home.wait_for_events("hi", "holds", 1).await;
    let release = async {
        // The lower provider has answered before the higher one starts.
        home.wait_for_events("lo", "asked", 1).await;
        home.change("hi", &provider("right"));
    };
    let (value, ()) = tokio::join!(daemon.value(ID), release);
    assert_eq!(value.expect("a value"), "right");
    // From now on the lower provider never answers, and no query waits for it.
    let mut silent = provider("lower");
    silent.answer = Answer::Hold;
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
    ending.answer = Answer::Exit(3);
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
async fn a_killed_first_rank_never_gives_way() {
    let (home, mut config) = pair();
    config.restart.max_failures = 100;
    let daemon = TestDaemon::with_config(home, config);
    let received = while_asking(&daemon, async {
        for _ in 0..5 {
            daemon.wait_for("hi", RunStatus::Running).await;
            let pid = daemon.pid("hi").await;
            kill_process(pid, Signal::KILL).expect("killed");
            let former = Some(pid.as_raw_nonzero().get());
            daemon
                .wait_for_status("hi", |status| status.pid != former)
                .await;
        }
        daemon.wait_for("hi", RunStatus::Running).await;
    })
    .await;
    assert_kinds(&received, &[FailureKind::Internal, FailureKind::Down]);
    assert!(received.n_right > 0, "{received:?}");
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
async fn reloads_that_restart_the_first_rank_are_waited_for() {
    let daemon = start_pair().await;
    let received = while_asking(&daemon, async {
        for n in 0..2 {
            let report = daemon
                .reload_with(|config| {
                    plugin(config, "hi")
                        .env
                        .insert("ROUND".into(), n.to_string());
                })
                .await;
            assert_eq!(report.restarted, ["hi".parse().expect("a name")]);
        }
    })
    .await;
    assert!(received.errors.is_empty(), "{:?}", received.errors);
    daemon.stop().await;
}

/// `rm` and `cp`, `mv` of another file over it, and a link behind a link that changes its target.
#[tokio::test]
async fn a_first_rank_whose_file_is_replaced_is_answered_or_waited_for() {
    let (home, mut config) = pair();
    config.removal_grace = Duration::from_secs(10);
    let daemon = TestDaemon::with_config(Arc::clone(&home), config);
    daemon.wait_for("hi", RunStatus::Running).await;
    let executable = home.plugin("hi");
    let aside = home.path().join("aside");
    let received = while_asking(&daemon, async {
        home.remove("hi");
        daemon.reload().await;
        home.copy("hi");
        daemon.reload().await;
        std::fs::copy(PLUGIN, &aside).expect("a copy");
        std::fs::rename(&aside, &executable).expect("moved");
        daemon.reload().await;
        std::fs::rename(&executable, &aside).expect("moved");
        let link = home.path().join("link");
        std::os::unix::fs::symlink(PLUGIN, &link).expect("a link");
        std::os::unix::fs::symlink(&link, &executable).expect("a link");
        daemon.reload().await;
        std::fs::remove_file(&link).expect("removed");
        std::os::unix::fs::symlink(&aside, &link).expect("a link");
        daemon.reload().await;
    })
    .await;
    // A file that is still being written may fail to start, which is an error and never another value.
    assert_kinds(&received, &[FailureKind::Down, FailureKind::Starting]);
    assert!(received.n_right > 0, "{received:?}");
    assert_eq!(daemon.value(ID).await.expect("a value"), "right");
    daemon.stop().await;
}

#[tokio::test]
async fn a_configured_external_provider_that_leaves_and_returns_never_gives_way() {
    let home = Home::new(PLUGIN);
    let mut config = home.config();
    home.play("lo", &provider("lower"));
    home.change("hi", &provider("right"));
    plugin(&mut config, "hi").priority = Some(10);
    let daemon = TestDaemon::with_config(home.into(), config);
    daemon.wait_for("lo", RunStatus::Running).await;
    let socket = hijack(daemon.address()).await.expect("hijacked");
    let first = connect_scripted("hi", daemon.home.path(), socket)
        .await
        .expect("registered");
    let mut current = Some(first);
    let received = while_asking(&daemon, async {
        for _ in 0..5 {
            let leaving = current.take().expect("connected");
            leaving.leave().await;
            daemon.wait_for_state("hi", PluginState::Absent).await;
            let socket = hijack(daemon.address()).await.expect("hijacked");
            let plugin = connect_scripted("hi", daemon.home.path(), socket).await;
            current = Some(plugin.expect("registered"));
        }
    })
    .await;
    assert_kinds(
        &received,
        &[
            FailureKind::Internal,
            FailureKind::Down,
            FailureKind::Unavailable,
        ],
    );
    assert_eq!(daemon.value(ID).await.expect("a value"), "right");
    daemon.stop().await;
}

#[tokio::test]
async fn a_required_plugin_without_file_or_process_makes_every_id_uncertain() {
    let (home, mut config) = pair();
    plugin(&mut config, "gone").required = true;
    let daemon = TestDaemon::with_config(home, config);
    daemon.wait_for("hi", RunStatus::Running).await;
    let error = daemon.get("other/id").await.expect_err("uncertain");
    let failure = the_failure(&error);
    assert_eq!(
        (failure.name.as_str(), failure.kind),
        ("gone", FailureKind::Down)
    );
    // A higher rank that has answered decides.
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

/// Whatever a process that only connects might register, no query waits for it.
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
    let error = tokio::time::timeout(PATIENCE, daemon.get("other/id")).await;
    let error = error.expect("not waited for").expect_err("not found");
    assert!(matches!(error, ResolveError::NotFound { .. }), "{error:?}");
    daemon.stop().await;
}

/// As a package manager does it, without a reload: the daemon notices each step.
#[tokio::test]
async fn a_first_rank_whose_file_is_replaced_unannounced_never_gives_way() {
    let (home, mut config) = pair();
    config.removal_grace = Duration::from_secs(10);
    config.restart.max_failures = 100;
    let daemon = TestDaemon::with_config(Arc::clone(&home), config);
    daemon.wait_for("hi", RunStatus::Running).await;
    let received = while_asking(&daemon, async {
        let pid = daemon.pid("hi").await;
        home.remove("hi");
        home.copy("hi");
        // A fresh process shows that the new file was noticed.
        let former = Some(pid.as_raw_nonzero().get());
        daemon
            .wait_for_status("hi", |now| now.pid.is_some() && now.pid != former)
            .await;
        daemon.wait_for("hi", RunStatus::Running).await;
    })
    .await;
    // A file that is still being written may fail to start.
    assert_kinds(&received, &[FailureKind::Down, FailureKind::Starting]);
    assert_eq!(daemon.value(ID).await.expect("a value"), "right");
    daemon.stop().await;
}
