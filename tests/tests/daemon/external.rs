//! External plugins: processes that connect to the daemon by themselves, leave and return.

use std::os::unix::net::UnixStream as StdStream;
use std::sync::Arc;
use std::time::Duration;

use keyway_proto::keyway::v1::PluginState;
use keyway_proto::plugins::v1::RunStatus;
use keyway_resolver::ResolveError;
use keyway_rpc::{Code, Error};
use keyway_tests::daemon::{Home, behave, plugin};
use keyway_tests::plugin::{Plugin, connect, connect_scripted, hijack};
use keyway_tests::script::{QueryResponse, Script};
use keyway_tests::{Behaviour, TestDaemon};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::common::{ID, PLUGIN, provider};

/// Connects an external plugin that responds correctly.
pub(crate) async fn external(daemon: &TestDaemon, name: &str) -> Result<Plugin, Error> {
    let socket = hijack(daemon.address()).await.expect("hijacked");
    connect(name, Behaviour::Good, socket).await
}

#[tokio::test]
async fn an_external_plugin_resolves_while_it_is_connected() {
    let daemon = TestDaemon::start(PLUGIN, &[]);
    let plugin = external(&daemon, "outside").await.expect("registered");
    assert_eq!(
        daemon.ids("outside/key").await,
        [("outside/key".to_owned(), "outside".to_owned())]
    );
    let listed = daemon.plugin("outside").await.expect("listed");
    assert!(
        listed.external() && listed.run_status() == RunStatus::Running,
        "{listed:?}"
    );
    plugin.leave().await;
    daemon.wait_until_forgotten("outside").await;
    assert!(matches!(
        daemon.get("outside/key").await,
        Err(ResolveError::NotFound { .. })
    ));
    daemon.stop().await;
}

#[tokio::test]
async fn l05_a_connected_or_launched_name_is_refused_to_another_plugin() {
    let home = Home::new(PLUGIN);
    let mut config = home.config();
    home.add("launched");
    behave(&mut config, "launched", Behaviour::NeverRegister);
    // Otherwise it could hold any id until it has registered, and every query would wait for it.
    let realm = "launched/**".parse().expect("a pattern");
    plugin(&mut config, "launched").realm = Some(vec![realm]);
    let daemon = TestDaemon::with_config(home.into(), config);
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
    // The plugin that has the name still responds.
    assert_eq!(daemon.ids("twin/key").await.len(), 1);
    first.leave().await;
    daemon.stop().await;
}

/// Disables the connected plugin `outside`, and waits until the daemon has closed its connection.
async fn disable_connected(daemon: &TestDaemon, plugin: Plugin) {
    let disabled = daemon.set_enabled("outside", false).await;
    disabled.expect("disabled");
    plugin.ended().await;
}

/// The plugin `outside` is refused with the command that enables it.
async fn assert_disabled(daemon: &TestDaemon) {
    let error = external(daemon, "outside").await.expect_err("disabled");
    assert!(
        error.message().contains("keyway plugins enable outside"),
        "{error}"
    );
}

/// Enables the plugin `outside`, which then registers and leaves.
async fn enable_and_connect(daemon: &TestDaemon) {
    daemon.set_enabled("outside", true).await.expect("enabled");
    let plugin = external(daemon, "outside").await.expect("registered");
    plugin.leave().await;
}

#[tokio::test]
async fn an_external_plugin_can_be_disabled_and_enabled() {
    let daemon = TestDaemon::start(PLUGIN, &[]);
    let plugin = external(&daemon, "outside").await.expect("registered");
    disable_connected(&daemon, plugin).await;
    assert_disabled(&daemon).await;
    assert!(
        daemon
            .plugin("outside")
            .await
            .expect("still listed")
            .disabled()
    );
    enable_and_connect(&daemon).await;
    daemon.stop().await;
}

/// The command that the refusal names works although no process of that name is connected.
#[tokio::test]
async fn a_disabled_external_plugin_can_be_enabled_after_a_restart_of_the_daemon() {
    let home = Arc::new(Home::new(PLUGIN));
    let daemon = TestDaemon::with_config(home.clone(), home.config());
    let plugin = external(&daemon, "outside").await.expect("registered");
    disable_connected(&daemon, plugin).await;
    daemon.stop().await;

    let daemon = TestDaemon::with_config(home.clone(), home.config());
    assert_disabled(&daemon).await;
    enable_and_connect(&daemon).await;
    let error = daemon
        .set_enabled("absent", true)
        .await
        .expect_err("unknown");
    assert_eq!(error.code(), Code::NotFound);
    daemon.stop().await;
}

/// Enabling a plugin frees its name even while the plugin is draining.
#[tokio::test]
async fn an_external_plugin_can_reconnect_right_after_it_was_enabled() {
    let daemon = TestDaemon::start(PLUGIN, &[]);
    for _ in 0..10 {
        let plugin = external(&daemon, "outside").await.expect("registered");
        for enabled in [false, true] {
            daemon
                .set_enabled("outside", enabled)
                .await
                .expect("changed");
        }
        plugin.ended().await;
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_stopping_daemon_disconnects_external_plugins_at_once() {
    let daemon = TestDaemon::start(PLUGIN, &[]);
    let plugin = external(&daemon, "outside").await.expect("registered");
    let (time, ()) = tokio::join!(daemon.stop(), plugin.ended());
    // An open stream, or a plugin that does not leave, would cost two seconds.
    assert!(time < Duration::from_secs(2), "{time:?}");
}

/// A plugin need not wait until the daemon has read the end of its connection and removed it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_external_plugin_can_disconnect_and_reconnect_at_once() {
    let daemon = TestDaemon::start(PLUGIN, &[]);
    for round in 0..100 {
        let plugin = external(&daemon, "outside").await;
        let plugin = plugin.unwrap_or_else(|error| panic!("round {round}: {error}"));
        plugin.leave().await;
    }
    daemon.stop().await;
}

/// A user restarts it while the former process still handles a request.
#[tokio::test]
async fn a_plugin_that_reconnects_while_its_former_process_drains_is_accepted() {
    let home = Home::new(PLUGIN);
    let mut script = Script {
        response: QueryResponse::Hold,
        ..Script::default()
    };
    home.change("outside", &script);
    let mut config = home.config();
    // A configured name is shown while it is absent.
    plugin(&mut config, "outside").priority = Some(0);
    let daemon = TestDaemon::with_config(home.into(), config);
    let connect_again = async || {
        let socket = hijack(daemon.address()).await.expect("hijacked");
        connect_scripted("outside", daemon.home.path(), socket).await
    };
    let former = connect_again().await.expect("registered");
    let leave = async {
        daemon.home.wait_for_events("outside", "queried", 1).await;
        former.leave().await;
    };
    let return_and_release = async {
        daemon.wait_for_state("outside", PluginState::Absent).await;
        script.response = QueryResponse::Secrets;
        let release = async { daemon.home.change("outside", &script) };
        tokio::join!(connect_again(), release).0
    };
    let (ids, (), returned) = tokio::join!(daemon.ids("outside/key"), leave, return_and_release);
    assert_eq!(ids.len(), 1);
    let returned = returned.expect("accepted");
    assert_eq!(daemon.ids("outside/key").await.len(), 1);
    returned.leave().await;
    daemon.stop().await;
}

/// The whole conversation of a registration in one write, the upgrade's request included: nothing behind it is lost.
#[tokio::test]
async fn bytes_behind_the_upgrade_request_are_not_lost() {
    let daemon = TestDaemon::start(PLUGIN, &[]);
    // The first bytes of a client are recorded from a session without a peer.
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
        let mut received = Vec::new();
        while !received.windows(7).any(|window| window == b"200 OK\r") {
            assert_ne!(
                socket.read_buf(&mut received).await.expect("a response"),
                0,
                "closed after {received:?}"
            );
        }
        assert!(received.starts_with(b"HTTP/1.1 101 "));
        drop(socket);
        daemon.wait_until_forgotten("eager").await;
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
    let mut response = String::new();
    socket
        .read_to_string(&mut response)
        .await
        .expect("a response");
    assert!(
        response.starts_with("HTTP/1.1 426 ") && response.contains("Upgrade: tcp"),
        "{response}"
    );
    daemon.stop().await;
}

#[tokio::test]
async fn an_external_provider_ranks_below_a_launched_one_of_equal_priority() {
    let home = Home::new(PLUGIN);
    home.play("launched", &provider("right"));
    home.change("a-outside", &provider("lower"));
    let config = home.config();
    let daemon = TestDaemon::with_config(home.into(), config);
    daemon.wait_for_running(&["launched"]).await;
    let socket = hijack(daemon.address()).await.expect("hijacked");
    let connected = connect_scripted("a-outside", daemon.home.path(), socket).await;
    let connected = connected.expect("registered");
    assert_eq!(daemon.value(ID).await.expect("a value"), "right");
    assert_eq!(daemon.status("a-outside").await.rank, Some(2));
    connected.leave().await;
    daemon.stop().await;
}
