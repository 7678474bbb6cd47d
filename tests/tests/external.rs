//! Plugins that are started by hand.

use std::collections::BTreeSet;
use std::os::unix::net::UnixStream as StdStream;

use keyway_proto::plugins::v1::RunStatus;
use keyway_resolver::ResolveError;
use keyway_rpc::{Code, Error};
use keyway_runtime::ExternalPlugins;
use keyway_tests::daemon::Home;
use keyway_tests::plugin::{Plugin, connect, hijack};
use keyway_tests::{Behaviour, TestDaemon};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

const PLUGIN: &str = env!("CARGO_BIN_EXE_misbehaving-plugin");

/// Starts a plugin by hand that behaves.
async fn by_hand(daemon: &TestDaemon, name: &str) -> Result<Plugin, Error> {
    let socket = hijack(daemon.address()).await.expect("hijacked");
    connect(name, Behaviour::Good, socket).await
}

#[tokio::test]
async fn a_plugin_by_hand_answers_for_as_long_as_it_is_connected() {
    let daemon = TestDaemon::start(PLUGIN, &[]);
    let plugin = by_hand(&daemon, "by-hand").await.expect("registered");
    assert_eq!(
        daemon.ids("by-hand/key").await,
        [("by-hand/key".to_owned(), "by-hand".to_owned())]
    );
    let listed = daemon.plugin("by-hand").await.expect("listed");
    assert!(
        listed.external() && listed.run_status() == RunStatus::Running,
        "{listed:?}"
    );
    plugin.leave().await;
    while daemon.plugin("by-hand").await.is_some() {
        tokio::task::yield_now().await;
    }
    assert!(matches!(
        daemon.get("by-hand/key").await,
        Err(ResolveError::NotFound { .. })
    ));
    daemon.stop().await;
}

#[tokio::test]
async fn l05_names_are_taken_once_and_launched_ones_are_reserved() {
    let daemon = TestDaemon::start(PLUGIN, &[("launched", Behaviour::NeverRegister)]);
    let first = connect(
        "twin",
        Behaviour::Good,
        hijack(daemon.address()).await.expect("hijacked"),
    )
    .await;
    let first = first.expect("registered");
    for name in ["twin", "launched"] {
        let socket = hijack(daemon.address()).await.expect("hijacked");
        let error = connect(name, Behaviour::Good, socket)
            .await
            .expect_err("the name is taken");
        assert_eq!(error.code(), Code::AlreadyExists, "{error}");
    }
    // The one that has the name was not disturbed.
    assert_eq!(daemon.ids("twin/key").await.len(), 1);
    first.leave().await;
    daemon.stop().await;
}

#[tokio::test]
async fn configuration_can_refuse_plugins_by_hand() {
    let home = Home::new(PLUGIN);
    let mut config = home.config();
    config.external = ExternalPlugins::Named(BTreeSet::from(["welcome".parse().expect("a name")]));
    let daemon = TestDaemon::with_config(home.into(), config);
    let error = by_hand(&daemon, "stranger").await.expect_err("refused");
    assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
    assert!(error.message().contains("[manual] allow"), "{error}");
    by_hand(&daemon, "welcome")
        .await
        .expect("registered")
        .leave()
        .await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_plugin_by_hand_can_be_disabled_and_enabled_again() {
    let daemon = TestDaemon::start(PLUGIN, &[]);
    let plugin = by_hand(&daemon, "by-hand").await.expect("registered");
    daemon
        .set_enabled("by-hand", false)
        .await
        .expect("disabled");
    // The daemon ends the connection.
    plugin.ended().await;
    let error = by_hand(&daemon, "by-hand").await.expect_err("disabled");
    assert!(
        error.message().contains("keyway plugins enable by-hand"),
        "{error}"
    );
    assert!(
        daemon
            .plugin("by-hand")
            .await
            .expect("still listed")
            .disabled()
    );
    daemon.set_enabled("by-hand", true).await.expect("enabled");
    by_hand(&daemon, "by-hand")
        .await
        .expect("registered")
        .leave()
        .await;
    daemon.stop().await;
}

/// Who is told to enable it can do so, though nothing of that name is there.
#[tokio::test]
async fn a_disabled_plugin_by_hand_can_be_enabled_after_the_daemon_was_started_again() {
    let home = std::sync::Arc::new(Home::new(PLUGIN));
    let daemon = TestDaemon::with_config(home.clone(), home.config());
    let plugin = by_hand(&daemon, "by-hand").await.expect("registered");
    daemon
        .set_enabled("by-hand", false)
        .await
        .expect("disabled");
    plugin.ended().await;
    daemon.stop().await;

    let daemon = TestDaemon::with_config(home.clone(), home.config());
    let error = by_hand(&daemon, "by-hand")
        .await
        .expect_err("still disabled");
    assert!(
        error.message().contains("keyway plugins enable by-hand"),
        "{error}"
    );
    daemon.set_enabled("by-hand", true).await.expect("enabled");
    by_hand(&daemon, "by-hand")
        .await
        .expect("registered")
        .leave()
        .await;
    let error = daemon
        .set_enabled("nobody", true)
        .await
        .expect_err("unknown");
    assert_eq!(error.code(), Code::NotFound);
    daemon.stop().await;
}

/// Enabling it while it is still leaving must not leave its name taken for ever.
#[tokio::test]
async fn a_plugin_by_hand_can_come_back_however_quickly_it_was_enabled() {
    let daemon = TestDaemon::start(PLUGIN, &[]);
    for _ in 0..10 {
        let plugin = by_hand(&daemon, "by-hand").await.expect("registered");
        for enabled in [false, true] {
            daemon
                .set_enabled("by-hand", enabled)
                .await
                .expect("changed");
        }
        plugin.ended().await;
    }
    daemon.stop().await;
}

#[tokio::test]
async fn the_stop_of_the_daemon_ends_plugins_by_hand_quickly() {
    let daemon = TestDaemon::start(PLUGIN, &[]);
    let plugin = by_hand(&daemon, "by-hand").await.expect("registered");
    let (time, ()) = tokio::join!(daemon.stop(), plugin.ended());
    // A stream that is left open, or a plugin that is waited for in vain, costs two seconds.
    assert!(time < std::time::Duration::from_secs(2), "{time:?}");
}

/// The whole conversation of a registration in one write, the upgrade's request included: nothing behind it is lost.
#[tokio::test]
async fn bytes_behind_the_upgrade_request_are_not_lost() {
    let daemon = TestDaemon::start(PLUGIN, &[]);
    // What a client would send first is recorded from a session that talks to nobody.
    let (near, far) = StdStream::pair().expect("a socket pair");
    for socket in [&near, &far] {
        socket.set_nonblocking(true).expect("non-blocking");
    }
    let near = UnixStream::from_std(near).expect("a socket");
    let mut far = UnixStream::from_std(far).expect("a socket");
    let client =
        tokio::spawn(async move { connect("eager", Behaviour::Good, near).await.map(drop) });
    let mut first_bytes = Vec::new();
    while !first_bytes.windows(8).any(|window| window == b"eager/**") {
        far.read_buf(&mut first_bytes)
            .await
            .expect("the registration");
    }
    let mut all =
        b"GET /hijack HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n".to_vec();
    all.extend_from_slice(&first_bytes);
    for cut in [all.len(), all.len() - first_bytes.len() + 1, 10] {
        let mut socket = UnixStream::connect(daemon.address().as_path().expect("a path"))
            .await
            .expect("connected");
        socket.write_all(&all[..cut]).await.expect("written");
        tokio::task::yield_now().await;
        socket.write_all(&all[cut..]).await.expect("written");
        let mut answer = Vec::new();
        while !answer.windows(7).any(|window| window == b"200 OK\r") {
            assert_ne!(
                socket.read_buf(&mut answer).await.expect("an answer"),
                0,
                "closed after {answer:?}"
            );
        }
        assert!(answer.starts_with(b"HTTP/1.1 101 "));
        drop(socket);
        while daemon.plugin("eager").await.is_some() {
            tokio::task::yield_now().await;
        }
    }
    client.abort();
    daemon.stop().await;
}

#[tokio::test]
async fn an_upgrade_without_its_headers_is_refused_with_the_reason() {
    let daemon = TestDaemon::start(PLUGIN, &[]);
    let mut socket = UnixStream::connect(daemon.address().as_path().expect("a path"))
        .await
        .expect("connected");
    socket
        .write_all(b"GET /hijack HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .expect("written");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("an answer");
    assert!(
        answer.starts_with("HTTP/1.1 426 ") && answer.contains("Upgrade: tcp"),
        "{answer}"
    );
    daemon.stop().await;
}
