//! A query returns the value of the provider that ranks first, or none: while that provider is killed, restarted or replaced.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use keyway_proto::keyway::v1::PluginState;
use keyway_resolver::{Catalog, FailureKind, ResolveError};
use keyway_runtime::Config;
use keyway_test_support::copy_executable;
use keyway_tests::TestDaemon;
use keyway_tests::daemon::{Home, plugin, the_failure};
use keyway_tests::plugin::{connect_scripted, hijack};
use keyway_tests::script::Script;
use rustix::process::{Signal, kill_process};

use crate::common::{ID, PLUGIN, home_with, pair, provider, start_pair, start_with};

/// The results of a client that queries without a pause.
#[derive(Debug, Default)]
struct Received {
    n_right: usize,
    errors: Vec<ResolveError>,
}

/// Calls without a pause until `work` is done, and once more.
async fn while_calling(call: impl AsyncFn(), work: impl Future<Output = ()>) {
    let mut work = std::pin::pin!(work);
    let mut is_done = false;
    while !is_done {
        is_done = tokio::select! {
            biased;
            () = &mut work => true,
            () = tokio::task::yield_now() => false,
        };
        call().await;
    }
}

/// Queries [`ID`] without a pause until `work` is done, and once more.
///
/// # Panics
///
/// Panics if a response holds another value than that of the provider that ranks first.
async fn while_querying(daemon: &TestDaemon, work: impl Future<Output = ()>) -> Received {
    let received = RefCell::new(Received::default());
    let query = async || match daemon.value(ID).await {
        Ok(value) => {
            assert_eq!(value, "right");
            received.borrow_mut().n_right += 1;
        }
        Err(error) => received.borrow_mut().errors.push(error),
    };
    while_calling(query, work).await;
    received.into_inner()
}

/// Restarts a plugin by a change of its environment.
async fn restart(daemon: &TestDaemon, name: &str, round: u32) {
    let change = |config: &mut Config| {
        let environment = &mut plugin(config, name).env;
        environment.insert("ROUND".into(), round.to_string());
    };
    let report = daemon.reload_with(change).await;
    assert_eq!(report.restarted, [name.parse().expect("a name")]);
}

/// Kills the process of a plugin, and waits until the next one runs.
async fn kill(daemon: &TestDaemon, name: &str) {
    let pid = daemon.pid(name).await;
    kill_process(pid, Signal::KILL).expect("killed");
    let former = Some(pid.as_raw_nonzero().get());
    daemon
        .wait_for_status(name, |status| status.pid != former)
        .await;
    daemon.wait_for_running(&[name]).await;
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
        daemon.wait_for_running(&["hi"]).await;
        for _ in 0..5 {
            kill(&daemon, "hi").await;
        }
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
        for round in 0..2 {
            restart(&daemon, "hi", round).await;
        }
    })
    .await;
    assert!(received.errors.is_empty(), "{:?}", received.errors);
    daemon.stop().await;
}

fn listing(value: &str) -> Script {
    Script {
        lists: true,
        ..provider(value)
    }
}

/// The providers of the listed ids.
fn providers(catalog: &Catalog) -> Vec<&str> {
    let entries = catalog.entries.iter();
    entries.map(|entry| entry.provider.as_str()).collect()
}

#[tokio::test]
async fn lists_during_a_restart_by_a_reload_are_complete() {
    let daemon = start_with(&[("hi", 10, listing("right")), ("lo", 0, listing("lower"))]).await;
    let query = ID.parse().expect("a pattern");
    let list = async || {
        let catalog = daemon.resolver.list(&query).await.expect("a list");
        assert_eq!(providers(&catalog), ["hi", "lo"], "{catalog:?}");
    };
    let work = async {
        for round in 0..2 {
            restart(&daemon, "hi", round).await;
        }
    };
    while_calling(list, work).await;
    daemon.stop().await;
}

#[tokio::test]
async fn lists_without_a_killed_provider_name_it() {
    let (home, mut config) =
        home_with(&[("hi", 10, listing("right")), ("lo", 0, listing("lower"))]);
    config.restart.max_failures = 100;
    let daemon = TestDaemon::with_config(home, config);
    daemon.wait_for_running(&["hi", "lo"]).await;
    let query = ID.parse().expect("a pattern");
    let n_complete = Cell::new(0);
    let list = async || {
        let catalog = daemon.resolver.list(&query).await.expect("a list");
        match providers(&catalog)[..] {
            ["hi", "lo"] => n_complete.set(n_complete.get() + 1),
            ["lo"] => {
                let unlisted: Vec<_> = catalog.unlisted.iter().map(|gap| &gap.provider).collect();
                assert_eq!(unlisted, ["hi"], "{catalog:?}");
            }
            _ => panic!("{catalog:?}"),
        }
    };
    let work = async {
        for _ in 0..3 {
            kill(&daemon, "hi").await;
        }
    };
    while_calling(list, work).await;
    assert!(n_complete.get() > 0);
    daemon.stop().await;
}

/// The provider `db` and the listed access-control module `gate`.
async fn start_with_gate() -> TestDaemon {
    let gate = Script {
        is_module: true,
        ..Script::default()
    };
    let (home, mut config) = home_with(&[("db", 0, Script::default()), ("gate", 0, gate)]);
    config.restart.max_failures = 100;
    let name = "gate".parse().expect("a name");
    config.access_modules.insert(name);
    let daemon = TestDaemon::with_config(home, config);
    daemon.wait_for_running(&["db", "gate"]).await;
    daemon
}

#[tokio::test]
async fn access_is_checked_by_the_next_process_of_a_module_that_a_reload_restarts() {
    let daemon = start_with_gate().await;
    let get = async || {
        let (allowed, denied) = tokio::join!(daemon.get(ID), daemon.get("db/denied"));
        assert_eq!(allowed.expect("allowed").envelopes.len(), 1);
        let denied = denied.expect_err("denied");
        assert!(matches!(denied, ResolveError::Denied { .. }), "{denied:?}");
    };
    let work = async {
        for round in 0..3 {
            restart(&daemon, "gate", round).await;
        }
    };
    while_calling(get, work).await;
    daemon.stop().await;
}

#[tokio::test]
async fn access_is_denied_or_checked_while_the_module_is_killed() {
    let daemon = start_with_gate().await;
    let n_allowed = Cell::new(0);
    let get = async || {
        let (allowed, denied) = tokio::join!(daemon.get(ID), daemon.get("db/denied"));
        let denied = denied.expect_err("denied");
        assert!(matches!(denied, ResolveError::Denied { .. }), "{denied:?}");
        match allowed {
            Ok(_) => n_allowed.set(n_allowed.get() + 1),
            Err(error) => {
                let is_denial = matches!(error, ResolveError::Denied { .. });
                assert!(is_denial && error.to_string().contains("gate"), "{error:?}");
            }
        }
    };
    let work = async {
        for _ in 0..3 {
            kill(&daemon, "gate").await;
        }
    };
    while_calling(get, work).await;
    assert!(n_allowed.get() > 0);
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
