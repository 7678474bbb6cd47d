//! Executables that appear, change and vanish while the daemon runs.

use keyway_proto::plugins::v1::RunStatus;
use keyway_resolver::{FailureKind, ResolveError};
use keyway_test_support::set_mode;
use keyway_tests::daemon::{Home, behave, plugin, the_failure};
use keyway_tests::{Behaviour, TestDaemon};

use crate::common::PLUGIN;

/// A daemon that reads its plugin directory only at a reload.
fn without_watch(behaviours: &[(&str, Behaviour)]) -> TestDaemon {
    let home = Home::new(PLUGIN);
    let mut config = home.config();
    config.watch = false;
    for (name, behaviour) in behaviours {
        home.add(name);
        behave(&mut config, name, *behaviour);
    }
    TestDaemon::with_config(home.into(), config)
}

#[tokio::test]
async fn a_reload_finds_added_and_removed_plugins() {
    let daemon = without_watch(&[]);
    daemon.home.add("one");
    daemon.reload().await;
    assert_eq!(daemon.ids("one/key").await.len(), 1);
    daemon.home.add("two");
    assert_eq!(
        daemon.reload().await.added,
        ["two".parse().expect("a name")]
    );
    assert_eq!(daemon.ids("two/key").await.len(), 1);
    daemon.home.remove("one");
    assert_eq!(
        daemon.reload().await.removed,
        ["one".parse().expect("a name")]
    );
    daemon.wait_until_forgotten("one").await;
    assert!(matches!(
        daemon.get("one/key").await,
        Err(ResolveError::NotFound { .. })
    ));
    daemon.stop().await;
}

#[tokio::test]
async fn added_changed_and_removed_plugins_are_noticed() {
    let home = Home::new(PLUGIN);
    home.add("one");
    let config = home.config();
    let daemon = TestDaemon::with_config(home.into(), config);
    daemon.wait_for_running(&["one"]).await;
    daemon.home.add("two");
    daemon.wait_for_running(&["two"]).await;
    daemon.home.remove("one");
    daemon.wait_until_forgotten("one").await;
    daemon.home.remove("two");
    std::os::unix::fs::symlink("/bin/false", daemon.home.plugin("two")).expect("a link");
    let failed = daemon.wait_for("two", RunStatus::RetriesExceeded).await;
    let message = failed.status_message.unwrap_or_default();
    assert!(message.contains("exited with status 1"), "{message}");
    daemon.stop().await;
}

#[tokio::test]
async fn a_plugin_directory_that_is_created_later_is_noticed() {
    let home = Home::new(PLUGIN);
    let mut config = home.config();
    config.plugin_dirs = vec![home.join("later/plugins")];
    let daemon = TestDaemon::with_config(home.into(), config);
    assert!(daemon.plugins().await.is_empty());
    let directory = daemon.home.create_dir("later/plugins");
    std::os::unix::fs::symlink(PLUGIN, directory.join("one")).expect("a link");
    daemon.wait_for_running(&["one"]).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_plugin_that_returns_before_it_has_stopped_is_restarted() {
    let daemon = without_watch(&[("stubborn", Behaviour::IgnoreShutdown)]);
    daemon.wait_for_running(&["stubborn"]).await;
    daemon.home.remove("stubborn");
    let removed = daemon.reload().await;
    daemon.wait_for("stubborn", RunStatus::Stopped).await;
    daemon.home.add("stubborn");
    let added = daemon.reload().await;
    let stubborn = ["stubborn".parse().expect("a name")];
    assert_eq!(
        (&removed.removed[..], &added.added[..]),
        (&stubborn[..], &stubborn[..])
    );
    assert!(added.problems.is_empty(), "{:?}", added.problems);
    let again = daemon.reload().await;
    assert_eq!(again.added, [], "its start is pending");
    daemon.wait_for_running(&["stubborn"]).await;
    daemon.stop().await;
}

/// It keeps its realm meanwhile, so that no lower provider is used in its place.
#[tokio::test]
async fn a_file_that_others_can_write_is_refused_until_its_mode_is_corrected() {
    let home = Home::new(PLUGIN);
    let mut config = home.config();
    config.watch = false;
    plugin(&mut config, "one").realm = Some(vec!["one/**".parse().expect("a pattern")]);
    home.copy("one");
    let file = home.plugin("one");
    set_mode(&file, 0o775);
    let daemon = TestDaemon::with_config(home.into(), config);

    let refused = daemon.wait_for("one", RunStatus::Stopped).await;
    let message = refused.status_message.unwrap_or_default();
    assert!(message.contains("chmod go-w"), "{message}");
    let error = daemon.get("one/key").await.expect_err("refused");
    assert_eq!(the_failure(&error).kind, FailureKind::Refused, "{error}");

    set_mode(&file, 0o700);
    daemon.reload().await;
    assert_eq!(daemon.ids("one/key").await.len(), 1);

    set_mode(&file, 0o702);
    let report = daemon.reload().await;
    assert!(
        matches!(&report.problems[..], [problem] if problem.contains("chmod go-w")),
        "{report:?}"
    );
    let error = daemon.get("one/key").await.expect_err("refused");
    assert_eq!(the_failure(&error).kind, FailureKind::Refused, "{error}");
    daemon.stop().await;
}
