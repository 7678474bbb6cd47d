//! A query returns the value of the provider that ranks first, or none: while that provider is killed, restarted or replaced.

use std::sync::Arc;
use std::time::Duration;

use keyway_proto::keyway::v1::PluginState;
use keyway_resolver::{FailureKind, ResolveError};
use keyway_test_support::copy_executable;
use keyway_tests::TestDaemon;
use keyway_tests::daemon::{Home, plugin, the_failure};
use keyway_tests::plugin::{connect_scripted, hijack};
use rustix::process::{Signal, kill_process};

use crate::common::{ID, PLUGIN, pair, provider, start_pair};

/// The results of a client that queries without a pause.
#[derive(Debug, Default)]
struct Received {
    n_right: usize,
    errors: Vec<ResolveError>,
}

/// Queries [`ID`] without a pause until `work` is done, and once more.
///
/// # Panics
///
/// Panics if a response holds another value than that of the provider that ranks first.
async fn while_querying(daemon: &TestDaemon, work: impl Future<Output = ()>) -> Received {
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

#[tokio::test]
async fn a_killed_first_rank_is_never_replaced_by_a_lower_one() {
    let (home, mut config) = pair();
    config.restart.max_failures = 100;
    let daemon = TestDaemon::with_config(home, config);
    let received = while_querying(&daemon, async {
        for _ in 0..5 {
            daemon.wait_for_running(&["hi"]).await;
            let pid = daemon.pid("hi").await;
            kill_process(pid, Signal::KILL).expect("killed");
            let former = Some(pid.as_raw_nonzero().get());
            daemon
                .wait_for_status("hi", |status| status.pid != former)
                .await;
        }
        daemon.wait_for_running(&["hi"]).await;
    })
    .await;
    assert_kinds(&received, &[FailureKind::Internal, FailureKind::Down]);
    assert!(received.n_right > 0, "{received:?}");
    daemon.stop().await;
}

#[tokio::test]
async fn reloads_that_restart_the_first_rank_are_waited_for() {
    let daemon = start_pair().await;
    let received = while_querying(&daemon, async {
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
async fn queries_use_or_wait_for_a_first_rank_while_its_file_is_replaced() {
    let (home, mut config) = pair();
    config.removal_grace = Duration::from_secs(10);
    let daemon = TestDaemon::with_config(Arc::clone(&home), config);
    daemon.wait_for_running(&["hi"]).await;
    let executable = home.plugin("hi");
    let aside = home.join("aside");
    let received = while_querying(&daemon, async {
        home.remove("hi");
        daemon.reload().await;
        home.copy("hi");
        daemon.reload().await;
        copy_executable(PLUGIN, &aside);
        std::fs::rename(&aside, &executable).expect("moved");
        daemon.reload().await;
        std::fs::rename(&executable, &aside).expect("moved");
        let link = home.join("link");
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
async fn a_configured_external_provider_that_reconnects_is_never_replaced_by_a_lower_one() {
    let home = Home::new(PLUGIN);
    let mut config = home.config();
    home.play("lo", &provider("lower"));
    home.change("hi", &provider("right"));
    plugin(&mut config, "hi").priority = Some(10);
    let daemon = TestDaemon::with_config(home.into(), config);
    daemon.wait_for_running(&["lo"]).await;
    let socket = hijack(daemon.address()).await.expect("hijacked");
    let first = connect_scripted("hi", daemon.home.path(), socket)
        .await
        .expect("registered");
    let mut current = Some(first);
    let received = while_querying(&daemon, async {
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

/// As a package manager does it, without a reload: the daemon notices each step.
#[tokio::test]
async fn a_first_rank_whose_file_is_replaced_without_a_reload_is_never_replaced_by_a_lower_one() {
    let (home, mut config) = pair();
    config.removal_grace = Duration::from_secs(10);
    config.restart.max_failures = 100;
    let daemon = TestDaemon::with_config(Arc::clone(&home), config);
    daemon.wait_for_running(&["hi"]).await;
    let received = while_querying(&daemon, async {
        let pid = daemon.pid("hi").await;
        home.remove("hi");
        home.copy("hi");
        // A fresh process shows that the new file was noticed.
        let former = Some(pid.as_raw_nonzero().get());
        daemon
            .wait_for_status("hi", |now| now.pid.is_some() && now.pid != former)
            .await;
        daemon.wait_for_running(&["hi"]).await;
    })
    .await;
    // A file that is still being written may fail to start.
    assert_kinds(&received, &[FailureKind::Down, FailureKind::Starting]);
    assert_eq!(daemon.value(ID).await.expect("a value"), "right");
    daemon.stop().await;
}
