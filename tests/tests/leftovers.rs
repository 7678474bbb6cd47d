//! Plugins that failed or were stopped leave no process. A binary of its own, because the tests count the children of their process.

use std::time::Duration;

use keyway_proto::plugins::v1::RunStatus;
use keyway_test_support::process::children;
use keyway_tests::{Behaviour, TestDaemon};

const PLUGIN: &str = env!("CARGO_BIN_EXE_misbehaving-plugin");

/// Held by the running test, because only one may run at a time.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn start(behaviours: &[(&str, Behaviour)]) -> TestDaemon {
    TestDaemon::start(PLUGIN, behaviours)
}

fn own_pid() -> i32 {
    i32::try_from(std::process::id()).expect("a pid")
}

#[tokio::test]
async fn l07_a_failed_start_leaves_no_process() {
    let _alone = ALONE.lock().await;
    let bad = [
        ("early", Behaviour::ExitBeforeHello),
        ("garbage", Behaviour::Garbage),
        ("masked", Behaviour::WrongName),
        ("version", Behaviour::WrongVersion),
    ];
    let daemon = start(&bad);
    for (name, _) in bad {
        daemon.wait_for(name, RunStatus::RetriesExceeded).await;
    }
    // The guardian is the only child left.
    assert_eq!(children(own_pid()).len(), 1);
    let message = async |name| {
        let plugin = daemon.plugin(name).await.expect("listed");
        plugin.status_message().to_owned()
    };
    let early = message("early").await;
    assert!(
        early.contains("exited with status 3") && early.contains("the vault is not mounted"),
        "{early}"
    );
    let garbage = message("garbage").await;
    assert!(garbage.contains("violated the protocol"), "{garbage}");
    let masked = message("masked").await;
    assert!(
        masked.contains("launched as masked and must register with that name, not as \"impostor\""),
        "{masked}"
    );
    let version = message("version").await;
    assert!(
        version.contains("\"1.0\" is not a Go semantic version"),
        "{version}"
    );
    daemon.stop().await;
    assert!(children(own_pid()).is_empty());
}

#[tokio::test]
async fn l09_all_plugins_stop_at_the_same_time_and_leave_no_process() {
    let _alone = ALONE.lock().await;
    let stubborn: Vec<_> = (1..=10)
        .map(|number| format!("stubborn-{number}"))
        .collect();
    let mut plugins = vec![("good", Behaviour::Good)];
    plugins.extend(
        stubborn
            .iter()
            .map(|name| (name.as_str(), Behaviour::IgnoreShutdown)),
    );
    let daemon = start(&plugins);
    for (name, _) in plugins {
        daemon.wait_for(name, RunStatus::Running).await;
    }
    let time = daemon.stop().await;
    // Each process that ignores signals is killed after two seconds: one after the other they would take longer on every machine.
    let one = Duration::from_secs(2);
    assert!(one < time && time < 10 * one, "{time:?}");
    assert!(children(own_pid()).is_empty());
}
