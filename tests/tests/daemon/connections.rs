//! Connections that their clients leave alone: new clients are served beside more of them than the daemon has places.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use keyway_test_support::http;
use keyway_tests::TestDaemon;

use crate::common::{ID, provider, start_with};

/// More than the daemon has places.
const MANY: usize = 1100;

/// The time in which a new client is served.
const SOON: Duration = Duration::from_secs(5);

/// The bytes that a client sends before it is silent, and whether it waits for the beginning of a response.
const SILENT: [(&str, &str, bool); 7] = [
    ("silent", "", false),
    ("half a preface", "PRI * HTTP/2.0\r\n", false),
    (
        "HTTP/2 idle",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        true,
    ),
    ("half a head", "POST /resolver.v1.Res", false),
    (
        "half a body",
        "POST /resolver.v1.ResolverService/GetSecrets HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         content-length: 30\r\n\r\n{\"patt",
        false,
    ),
    ("idle", "GET /health HTTP/1.1\r\nhost: x\r\n\r\n", true),
    (
        "upgraded",
        "GET /hijack HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: tcp\r\n\r\n",
        true,
    ),
];

fn open_many(socket: &Path, beginning: &str, is_answered: bool) -> Vec<UnixStream> {
    let open = |_| {
        let mut stream = UnixStream::connect(socket).expect("a connection");
        // A connection that is refused closes at once.
        let _ = stream.write_all(beginning.as_bytes());
        if is_answered {
            let _ = stream.read(&mut [0; 9]);
        }
        stream
    };
    (0..MANY).map(open).collect()
}

async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    let started = Instant::now();
    let output = work.await;
    let elapsed = started.elapsed();
    assert!(elapsed < SOON, "{what} took {elapsed:?}");
    output
}

async fn check_new_clients(daemon: &TestDaemon, beside: &str) {
    let socket = daemon.address().as_path().expect("a path").to_owned();
    let health = tokio::task::spawn_blocking(move || {
        let request = "GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        http::exchange(&socket, request)
    });
    let health = within(&format!("/health beside {beside}"), health).await;
    let health = health.expect("a response");
    assert!(health.starts_with("HTTP/1.1 200"), "{beside}: {health}");
    let calls = [
        ("/health.v1.VersionService/GetVersion", "{}".to_owned()),
        (
            "/resolver.v1.ResolverService/GetSecrets",
            format!("{{\"pattern\":\"{ID}\"}}"),
        ),
    ];
    for (path, json) in calls {
        let response = within(&format!("{path} beside {beside}"), daemon.post(path, &json)).await;
        assert!(response.starts_with("HTTP/1.1 200"), "{beside}: {response}");
    }
}

#[tokio::test]
async fn new_clients_are_served_beside_silent_ones() {
    let daemon = start_with(&[("hi", 0, provider("right"))]).await;
    for (beside, beginning, is_answered) in SILENT {
        let socket = daemon.address().as_path().expect("a path").to_owned();
        let opening = move || open_many(&socket, beginning, is_answered);
        let silent = tokio::task::spawn_blocking(opening).await.expect("opened");
        check_new_clients(&daemon, beside).await;
        drop(silent);
    }
    daemon.stop().await;
}
