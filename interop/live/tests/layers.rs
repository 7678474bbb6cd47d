//! The multiplexer and the Connect layer alone, without runtime or SDK, against
//! Go peers in both roles.

mod bare;

use std::sync::Arc;

use bare::{
    accept_hijack, block_on, get, hijack, load, provider, register, registrar, shut_down,
    spawn_server,
};
use keyway_interop::{GoPrograms, Home, Peer, demo_value as value, go_programs};
use keyway_mux::{Config, Session};
use keyway_rpc::Code;
use tokio::net::UnixListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Runs a plugin on the bare layers until the Go runtime stops it.
async fn be_a_plugin(home: &Home) {
    let stream = hijack(&home.socket()).await;
    let (session, driver) = Session::client(stream, Config::default());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { driver.await.expect("the connection ends cleanly") });
    let stop = Arc::new(Notify::new());
    spawn_server(&mut tasks, &session, provider(&stop));
    assert_eq!(register(&session).await, "go-runtime");

    tokio::select! {
        () = stop.notified() => {}
        ended = session.closed() => panic!("the connection ended before Shutdown: {ended:?}"),
    }
    session.close();
    session.closed().await.expect("the session closes cleanly");
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no task panics");
    }
    assert_eq!(session.stats().open_streams, 0);
}

fn go_runtime(go: &GoPrograms, home: &Home, arguments: &[&str]) -> Peer {
    let socket = home.socket();
    let mut all = vec!["-listen", socket.to_str().expect("the path is text")];
    all.extend(arguments);
    let mut runtime = Peer::start(go, "runtime", home, &all);
    runtime.wait_for("ready");
    runtime
}

#[test]
fn a_plugin_on_the_bare_layers_serves_a_go_runtime() {
    let Some(go) = go_programs() else { return };
    let home = Home::new();
    let runtime = go_runtime(
        &go,
        &home,
        &[
            "-requests",
            "4000",
            "-callers",
            "64",
            "-slow",
            "64",
            "-goaway",
        ],
    );
    block_on(be_a_plugin(&home));
    let report = runtime.passed();
    assert_eq!(report.summary()["streams_left"], 0, "{report}");
}

#[test]
fn large_values_pass_through_the_bare_layers() {
    let Some(go) = go_programs() else { return };
    let home = Home::new();
    let arguments = ["-requests", "1", "-big", "4"];
    let runtime = go_runtime(&go, &home, &arguments);
    block_on(be_a_plugin(&home));
    runtime.passed();
}

#[test]
fn keep_alives_pass_in_both_directions() {
    let Some(go) = go_programs() else { return };
    let home = Home::new();
    let runtime = go_runtime(
        &go,
        &home,
        &["-requests", "1", "-keep-alive", "50ms", "-idle", "1s"],
    );
    block_on(be_a_plugin(&home));
    runtime.passed();
}

/// Accepts a plugin, and waits until it has registered.
async fn take_plugin(listener: UnixListener) -> (Session, JoinSet<()>) {
    let stream = accept_hijack(listener).await;
    let (session, driver) = Session::server(stream, Config::default());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { driver.await.expect("the connection ends cleanly") });
    let registered = Arc::new(Notify::new());
    spawn_server(&mut tasks, &session, registrar(&registered));
    registered.notified().await;
    (session, tasks)
}

/// GoAway(0) while calls are being served: they complete, and more may be
/// made.
async fn calls_in_flight_at_go_away_succeed(session: &Session) {
    let mut slow = JoinSet::new();
    for _ in 0..8 {
        let session = session.clone();
        slow.spawn(async move { get(&session, "demo/slow").await });
    }
    while session.stats().open_streams < 8 {
        tokio::task::yield_now().await;
    }
    session.go_away();
    while let Some(result) = slow.join_next().await {
        let found = result
            .expect("no task panics")
            .expect("a call in flight completes");
        assert_eq!(found, value("demo/slow"));
    }
    assert_eq!(
        get(session, "demo/hit").await.expect("the plugin responds"),
        value("demo/hit")
    );
}

async fn be_a_runtime(listener: UnixListener) {
    let (session, mut tasks) = take_plugin(listener).await;
    assert_eq!(
        get(&session, "demo/hit")
            .await
            .expect("the plugin responds"),
        value("demo/hit")
    );
    for (id, code) in [
        ("demo/missing", Code::NotFound),
        ("demo/broken", Code::Internal),
        ("demo/panic", Code::Unavailable),
    ] {
        assert_eq!(get(&session, id).await.unwrap_err().code(), code, "{id}");
    }
    load(&session, 4_000, 64, "demo/hit").await;
    load(&session, 64, 64, "demo/slow").await;
    load(&session, 4, 4, "demo/big").await;
    calls_in_flight_at_go_away_succeed(&session).await;

    shut_down(&session).await.expect("the plugin responds");
    session.close();
    session.closed().await.expect("the session closes cleanly");
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no task panics");
    }
    assert_eq!(session.stats().open_streams, 0);
}

#[test]
fn a_runtime_on_the_bare_layers_queries_a_go_plugin() {
    let Some(go) = go_programs() else { return };
    let home = Home::new();
    let socket = home.socket();
    let mut plugin = None;
    block_on(async {
        let listener = UnixListener::bind(&socket).expect("the socket is ours");
        let at = socket.to_str().expect("the path is text");
        let arguments = ["-socket", at, "-name", "demo", "-stream-open-timeout", "1s"];
        plugin = Some(Peer::start(&go, "plugin", &home, &arguments));
        be_a_runtime(listener).await;
    });
    let report = plugin.expect("it was started").passed();
    assert_eq!(report.summary()["cancelled"], 0);
    assert_eq!(report.summary()["streams_left"], 0, "{report}");
}
