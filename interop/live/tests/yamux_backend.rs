//! The `yamux` crate: a plugin on it under Keyway's runtime, a runtime on it with Keyway's plugin, and its
//! limitations.

mod bare;

use std::path::Path;
use std::sync::Arc;

use bare::{
    accept_hijack, block_on, get, hijack, load, provider, register, registrar, shut_down,
    spawn_server,
};
use keyway_interop::{Daemon, Home, Peer, demo_value as value, go_programs, start_external};
use keyway_resolver::{Address, DaemonSocket, Resolver};
use keyway_rpc::Code;
use keyway_test_support::Process;
use keyway_yamux_engine::YamuxSession;
use tokio::net::UnixListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// A registered plugin on the `yamux` crate, and its tasks.
async fn plugin(socket: &Path) -> (YamuxSession, Arc<Notify>, JoinSet<()>) {
    let (session, driver) = YamuxSession::client(hijack(socket).await);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        // How it ends differs from test to test.
        let _ = driver.await;
    });
    let stop = Arc::new(Notify::new());
    spawn_server(&mut tasks, &session, provider(&stop));
    register(&session).await;
    (session, stop, tasks)
}

#[test]
fn a_plugin_on_the_yamux_crate_serves_keyway() {
    let home = Home::new();
    let daemon = Daemon::start(&home);
    block_on(async {
        let (session, stop, mut tasks) = plugin(&home.socket()).await;
        let resolver = Arc::new(Resolver::new(DaemonSocket::at(Address::from(
            home.socket(),
        ))));
        let mut callers = JoinSet::new();
        for _ in 0..16 {
            let resolver = Arc::clone(&resolver);
            callers.spawn(async move {
                for _ in 0..50 {
                    let id = "demo/hit".parse().expect("a constant id");
                    let found = resolver.get_one(&id).await.expect("the daemon responds");
                    assert_eq!(found.value.expose(), value("demo/hit"));
                }
            });
        }
        while let Some(ended) = callers.join_next().await {
            ended.expect("every call completes");
        }
        let mut disable = daemon.command(&["plugins", "disable", "demo"]);
        let stopping = tokio::task::spawn_blocking(move || disable.status());
        stop.notified().await;
        // The crate has no close that waits; the daemon ends the connection.
        let _ = session.closed().await;
        assert!(
            stopping
                .await
                .expect("no panic")
                .expect("keyway runs")
                .success()
        );
        tasks.shutdown().await;
    });
}

/// A runtime on the `yamux` crate with one of Keyway's plugins.
async fn runtime(home: &Home) -> (YamuxSession, JoinSet<()>, Process) {
    let listener = UnixListener::bind(home.socket()).expect("the socket is ours");
    let plugin = start_external(home, env!("CARGO_BIN_EXE_demo"));
    let (session, driver) = YamuxSession::server(accept_hijack(listener).await);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        // How it ends differs from test to test.
        let _ = driver.await;
    });
    let registered = Arc::new(Notify::new());
    spawn_server(&mut tasks, &session, registrar(&registered));
    registered.notified().await;
    (session, tasks, plugin)
}

#[test]
fn a_runtime_on_the_yamux_crate_calls_keyways_plugin() {
    let home = Home::new();
    block_on(async {
        let (session, mut tasks, mut plugin) = runtime(&home).await;
        load(&session, 1_000, 16, "demo/hit").await;
        load(&session, 4, 4, "demo/big").await;
        assert_eq!(
            get(&session, "demo/missing").await.unwrap_err().code(),
            Code::NotFound
        );
        // GoAway, which ends this session, may overtake the response.
        let _ = shut_down(&session).await;
        tasks.shutdown().await;
        drop(session);
        let ended = tokio::task::spawn_blocking(move || plugin.wait());
        assert!(ended.await.expect("no panic").success());
    });
}

/// A limitation: a peer that drains with GoAway(0) ends the session, and the call in flight is lost. With `keyway-mux` it
/// completes.
#[test]
fn the_yamux_crate_loses_calls_at_go_away() {
    let home = Home::new();
    block_on(async {
        let (session, mut tasks, mut plugin) = runtime(&home).await;
        // The slow call's stream is opened first, so its request arrives first.
        let (lost, _) = tokio::join!(get(&session, "demo/slow"), shut_down(&session));
        assert!(
            lost.is_err(),
            "the `yamux` crate now drains: say so in the documentation"
        );
        tasks.shutdown().await;
        drop(session);
        tokio::task::spawn_blocking(move || plugin.wait())
            .await
            .expect("no panic");
    });
}

/// A limitation: a stream is acknowledged with the first byte of the response, so a Go runtime ends the session if one call is
/// slow.
#[test]
fn the_yamux_crate_acknowledges_too_late_for_a_go_runtime() {
    let Some(go) = go_programs() else { return };
    let home = Home::new();
    let socket = home.socket();
    let at = socket.to_str().expect("the path is text");
    let arguments = [
        "-listen",
        at,
        "-requests",
        "1",
        "-slow",
        "1",
        "-stream-open-timeout",
        "1s",
    ];
    let mut peer = Peer::start(&go, "runtime", &home, &arguments);
    peer.wait_for("ready");
    block_on(async {
        let (session, _stop, mut tasks) = plugin(&home.socket()).await;
        let _ = session.closed().await;
        tasks.shutdown().await;
    });
    let failure = peer.wait_for("failure");
    let text = failure["message"].as_str().unwrap_or_default();
    assert!(text.contains("concurrent calls failed"), "{failure}");
}
