//! Keyway's clients and plugins at a Go daemon.

use std::process::Output;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use keyway_interop::{
    GoPrograms, Home, Peer, Report, block_on, demo_value, go_programs, keyway, start_external,
};
use keyway_resolver::{Address, DaemonSocket, Pattern, ResolveError, Resolver};
use keyway_test_support::{feed, text, wait_until};
use tokio::task::JoinSet;

/// The daemon checks for open streams every 50 ms, and one that is left open costs 2 s. The rest is for a busy machine.
const STOP_MS: u64 = 1500;

fn start(go: &GoPrograms, home: &Home, arguments: &[&str]) -> Peer {
    let socket = home.socket();
    let mut all = vec!["-listen", socket.to_str().expect("the path is text")];
    all.extend(arguments);
    let mut daemon = Peer::start(go, "daemon", home, &all);
    daemon.wait_for("ready");
    daemon
}

fn resolver(home: &Home) -> Resolver<DaemonSocket> {
    let address = Address::from(home.socket());
    Resolver::new(DaemonSocket::at(address))
}

fn pattern(text: &str) -> Pattern {
    text.parse().expect("a constant pattern")
}

async fn value(resolver: &Resolver<DaemonSocket>, id: &str) -> Vec<u8> {
    let found = resolver
        .get(&pattern(id))
        .await
        .expect("the daemon responds");
    assert!(found.is_complete(), "{found:?}");
    assert_eq!(found.envelopes.len(), 1);
    found.envelopes[0].value.expose().to_vec()
}

async fn query_each(resolver: &Resolver<DaemonSocket>) {
    let found = resolver
        .get(&pattern("demo/hit"))
        .await
        .expect("the daemon responds");
    let envelope = &found.envelopes[0];
    assert_eq!(envelope.value.expose(), demo_value("demo/hit"));
    assert_eq!(
        (envelope.provider.as_str(), envelope.version.as_str()),
        ("builtin", "v7")
    );
    let created = SystemTime::UNIX_EPOCH + Duration::from_secs(1_735_787_045);
    assert_eq!(envelope.created_at, Some(created));
    assert!(envelope.resolved_at.is_some());
    assert_eq!(
        envelope.metadata.get("owner").map(String::as_str),
        Some("nobody")
    );
    let found = resolver
        .get(&pattern("demo/notime"))
        .await
        .expect("the daemon responds");
    assert_eq!(
        (found.envelopes[0].created_at, found.envelopes[0].expires_at),
        (None, None)
    );
    let many = resolver
        .get(&pattern("demo/many/*"))
        .await
        .expect("the daemon responds");
    assert_eq!(many.envelopes.len(), 1000);
    let missing = resolver.get(&pattern("demo/missing")).await;
    assert!(
        matches!(missing, Err(ResolveError::NotFound { .. })),
        "{missing:?}"
    );
    let broken = resolver.get(&pattern("demo/broken")).await;
    assert!(
        matches!(broken, Err(ResolveError::Unavailable { .. })),
        "{broken:?}"
    );
    let denied = resolver.get(&pattern("denied/x")).await;
    assert!(
        matches!(denied, Err(ResolveError::Denied { .. })),
        "{denied:?}"
    );
}

async fn query_authorization_and_version(resolver: &Resolver<DaemonSocket>) {
    let allowed = resolver
        .authorize(&[pattern("demo/hit"), pattern("other/**")])
        .await;
    let allowed = allowed.expect("the daemon responds");
    assert!(allowed.allowed && allowed.expires_at.is_some());
    let denied = resolver.authorize(&[pattern("denied/x")]).await;
    assert!(!denied.is_ok_and(|decision| decision.allowed));
    assert_eq!(
        resolver.version().await.expect("the daemon responds"),
        "v0.9.0"
    );
    let listed = resolver.list(&pattern("**")).await;
    assert!(
        matches!(listed, Err(ResolveError::Unsupported { .. })),
        "{listed:?}"
    );
}

#[test]
fn the_resolver_queries_a_go_daemon() {
    let Some(go) = go_programs() else { return };
    let home = Home::new();
    let daemon = start(&go, &home, &["-builtin"]);
    block_on(async {
        let resolver = resolver(&home);
        query_each(&resolver).await;
        query_authorization_and_version(&resolver).await;
        assert_eq!(value(&resolver, "demo/big").await, demo_value("demo/big"));
    });
    daemon.terminate();
    daemon.passed();
}

#[test]
fn sixty_four_callers_share_a_resolver() {
    let Some(go) = go_programs() else { return };
    let home = Home::new();
    let daemon = start(&go, &home, &["-builtin"]);
    block_on(async {
        let resolver = Arc::new(resolver(&home));
        let mut callers = JoinSet::new();
        for number in 0..64 {
            let resolver = Arc::clone(&resolver);
            callers.spawn(async move {
                for _ in 0..100 {
                    assert_eq!(value(&resolver, "demo/hit").await, demo_value("demo/hit"));
                }
                if number % 8 == 0 {
                    assert_eq!(value(&resolver, "demo/slow").await, demo_value("demo/slow"));
                }
            });
        }
        while let Some(ended) = callers.join_next().await {
            ended.expect("every call completes");
        }
    });
    daemon.terminate();
    let report = daemon.passed();
    assert_eq!(report.summary()["requests"], 6408);
}

fn run(home: &Home, arguments: &[&str]) -> Output {
    feed(home.command(keyway()).args(arguments), b"")
}

#[test]
fn the_command_line_queries_a_go_daemon() {
    let Some(go) = go_programs() else { return };
    let home = Home::new();
    let daemon = start(&go, &home, &["-builtin"]);
    let got = run(&home, &["get", "demo/hit", "--value"]);
    assert_eq!(got.status.code(), Some(0), "{}", text(&got.stderr));
    assert_eq!(got.stdout, demo_value("demo/hit"));
    for (id, code) in [("demo/missing", 3), ("denied/x", 4), ("demo/broken", 5)] {
        let failed = run(&home, &["get", id]);
        let message = text(&failed.stderr);
        assert_eq!(failed.status.code(), Some(code), "{id}: {message}");
        assert!(failed.stdout.is_empty());
    }
    daemon.terminate();
    daemon.passed();
}

fn client(go: &GoPrograms, home: &Home, arguments: &[&str]) -> Report {
    let socket = home.socket();
    let mut all = vec!["-socket", socket.to_str().expect("the path is text")];
    all.extend(arguments);
    Peer::start(go, "client", home, &all).passed()
}

fn stopped_at_once(report: &Report, plugins: usize) {
    let stops: Vec<_> = report
        .events("plugin-stopped")
        .map(|stop| stop["stop_ms"].as_u64())
        .collect();
    assert_eq!(stops.len(), plugins, "{report}");
    assert!(
        stops.iter().all(|stop| stop.is_some_and(|ms| ms < STOP_MS)),
        "{report}"
    );
}

#[test]
fn a_go_daemon_has_external_plugins_of_keyway() {
    let Some(go) = go_programs() else { return };
    for acceptor in ["-reference-acceptor=false", "-reference-acceptor=true"] {
        let home = Home::new();
        let mut daemon = start(&go, &home, &[acceptor, "-min-plugins", "2"]);
        let mut demo = start_external(&home, env!("CARGO_BIN_EXE_demo"));
        let mut guard = start_external(&home, env!("CARGO_BIN_EXE_guard"));
        wait_until("two registrations", || {
            daemon.report().events("registration").count() == 2
        });
        daemon.wait_for("registration");
        client(
            &go,
            &home,
            &["-each", "-management", "-slow", "16", "-requests", "2000"],
        );
        daemon.terminate();
        stopped_at_once(&daemon.passed(), 2);
        for plugin in [&mut demo, &mut guard] {
            assert!(plugin.wait().success(), "a plugin failed");
        }
    }
}

#[test]
fn a_go_daemon_launches_a_plugin_of_keyway() {
    let Some(go) = go_programs() else { return };
    let home = Home::new();
    let demo = env!("CARGO_BIN_EXE_demo");
    let arguments = ["-exec", demo, "-min-plugins", "1"];
    let daemon = start(&go, &home, &arguments);
    client(
        &go,
        &home,
        &["-each", "-management", "-old", "-requests", "2000"],
    );
    daemon.terminate();
    stopped_at_once(&daemon.passed(), 1);
}
