//! Executables that appear, change and vanish while the daemon runs.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use keyway_proto::plugins::v1::RunStatus;
use keyway_resolver::{FailureKind, ResolveError};
use keyway_runtime::ReloadReport;
use keyway_tests::daemon::{Home, PATIENCE, behave, plugin, the_failure};
use keyway_tests::{Behaviour, TestDaemon};

const PLUGIN: &str = env!("CARGO_BIN_EXE_misbehaving-plugin");

/// A daemon that looks at its plugin directory only at a reload.
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

async fn reload(daemon: &TestDaemon) -> ReloadReport {
    let report = daemon.handle.reload().await;
    report.expect("running").expect("reloaded")
}

async fn wait_until_gone(daemon: &TestDaemon, name: &str) {
    let gone = async {
        while daemon.plugin(name).await.is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("gone");
}

#[tokio::test]
async fn a_reload_picks_up_plugins_that_come_and_go() {
    let daemon = without_watch(&[]);
    daemon.home.add("one");
    reload(&daemon).await;
    assert_eq!(daemon.ids("one/key").await.len(), 1);
    daemon.home.add("two");
    assert_eq!(
        reload(&daemon).await.added,
        ["two".parse().expect("a name")]
    );
    assert_eq!(daemon.ids("two/key").await.len(), 1);
    daemon.home.remove("one");
    assert_eq!(
        reload(&daemon).await.removed,
        ["one".parse().expect("a name")]
    );
    wait_until_gone(&daemon, "one").await;
    assert!(matches!(
        daemon.get("one/key").await,
        Err(ResolveError::NotFound { .. })
    ));
    daemon.stop().await;
}

#[tokio::test]
async fn plugins_that_come_change_and_go_are_noticed() {
    let home = Home::new(PLUGIN);
    home.add("one");
    let config = home.config();
    let daemon = TestDaemon::with_config(home.into(), config);
    daemon.wait_for("one", RunStatus::Running).await;
    daemon.home.add("two");
    daemon.wait_for("two", RunStatus::Running).await;
    daemon.home.remove("one");
    wait_until_gone(&daemon, "one").await;
    daemon.home.remove("two");
    std::os::unix::fs::symlink("/bin/false", daemon.home.path().join("plugins/two"))
        .expect("a link");
    let failed = daemon.wait_for("two", RunStatus::RetriesExceeded).await;
    let message = failed.status_message.unwrap_or_default();
    assert!(message.contains("it exited with status 1"), "{message}");
    daemon.stop().await;
}

#[tokio::test]
async fn a_plugin_directory_that_is_created_later_is_noticed() {
    let home = Home::new(PLUGIN);
    let mut config = home.config();
    config.plugin_dirs = vec![home.path().join("later/plugins")];
    let daemon = TestDaemon::with_config(home.into(), config);
    assert!(daemon.plugins().await.is_empty());
    let directory = daemon.home.path().join("later/plugins");
    std::fs::create_dir_all(&directory).expect("a directory");
    std::os::unix::fs::symlink(PLUGIN, directory.join("one")).expect("a link");
    daemon.wait_for("one", RunStatus::Running).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_plugin_that_returns_before_it_has_stopped_is_restarted() {
    let daemon = without_watch(&[("stubborn", Behaviour::IgnoreShutdown)]);
    daemon.wait_for("stubborn", RunStatus::Running).await;
    daemon.home.remove("stubborn");
    let removed = reload(&daemon).await;
    daemon.wait_for("stubborn", RunStatus::Stopped).await;
    daemon.home.add("stubborn");
    let added = reload(&daemon).await;
    let stubborn = ["stubborn".parse().expect("a name")];
    assert_eq!(
        (&removed.removed[..], &added.added[..]),
        (&stubborn[..], &stubborn[..])
    );
    assert!(added.problems.is_empty(), "{:?}", added.problems);
    let again = reload(&daemon).await;
    assert_eq!(again.added, [], "its start is pending");
    daemon.wait_for("stubborn", RunStatus::Running).await;
    daemon.stop().await;
}

/// Its realm stays its own meanwhile, so that no lower provider answers in its place.
#[tokio::test]
async fn a_file_that_others_can_write_is_refused_until_its_mode_is_mended() {
    let home = Home::new(PLUGIN);
    let mut config = home.config();
    config.watch = false;
    plugin(&mut config, "one").realm = Some(vec!["one/**".parse().expect("a pattern")]);
    let file = home.path().join("plugins/one");
    std::fs::copy(PLUGIN, &file).expect("copied");
    set_mode(&file, 0o775);
    let daemon = TestDaemon::with_config(home.into(), config);

    let refused = daemon.wait_for("one", RunStatus::Stopped).await;
    let message = refused.status_message.unwrap_or_default();
    assert!(message.contains("chmod go-w"), "{message}");
    let error = daemon.get("one/key").await.expect_err("refused");
    assert_eq!(the_failure(&error).kind, FailureKind::Refused, "{error}");

    set_mode(&file, 0o700);
    reload(&daemon).await;
    assert_eq!(daemon.ids("one/key").await.len(), 1);

    set_mode(&file, 0o702);
    let report = reload(&daemon).await;
    assert!(
        matches!(&report.problems[..], [problem] if problem.contains("chmod go-w")),
        "{report:?}"
    );
    let error = daemon.get("one/key").await.expect_err("refused");
    assert_eq!(the_failure(&error).kind, FailureKind::Refused, "{error}");
    daemon.stop().await;
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("the mode");
}
