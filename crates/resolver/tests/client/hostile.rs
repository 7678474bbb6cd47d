//! Daemons that respond badly or never: every request ends with an error that names the cause.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use keyway_resolver::{DaemonSocket, ResolveError, Resolver};
use keyway_test_support::Home;
use keyway_test_support::scripted::ScriptedDaemon;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

/// The daemon's part in one connection.
#[derive(Clone, Copy)]
enum Script {
    /// Responds to every request with these bytes and keeps the connection.
    Respond(&'static str),
    /// Responds to one request with these bytes and closes.
    RespondAndClose(&'static str),
    /// Reads one request and closes.
    Close,
}

/// A daemon that follows the nth script on the nth connection, and the last one from then on.
struct Hostile {
    _home: Home,
    resolver: Resolver<DaemonSocket>,
    requests: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Hostile {
    fn n_requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn hostile(scripts: &'static [Script]) -> Hostile {
    let home = Home::new();
    let listener = UnixListener::bind(home.socket()).unwrap();
    let requests = Arc::new(AtomicUsize::new(0));
    let task = tokio::spawn(follow(listener, scripts, Arc::clone(&requests)));
    let resolver = Resolver::new(DaemonSocket::at(home.socket().into()));
    Hostile {
        _home: home,
        resolver,
        requests,
        task,
    }
}

async fn follow(listener: UnixListener, scripts: &'static [Script], requests: Arc<AtomicUsize>) {
    for n in 0.. {
        let (mut stream, _) = listener.accept().await.unwrap();
        let script = scripts[n.min(scripts.len() - 1)];
        while read_request(&mut stream).await {
            requests.fetch_add(1, Ordering::SeqCst);
            match script {
                Script::Respond(bytes) => stream.write_all(bytes.as_bytes()).await.unwrap(),
                Script::RespondAndClose(bytes) => {
                    stream.write_all(bytes.as_bytes()).await.unwrap();
                    break;
                }
                Script::Close => break,
            }
        }
    }
}

/// Reads the head of a request and its short body; `false` at the end of the connection.
async fn read_request(stream: &mut UnixStream) -> bool {
    let mut bytes = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return false,
            Ok(n) => bytes.extend_from_slice(&chunk[..n]),
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return true;
            }
        }
    }
}

const EMPTY_OK: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: application/proto\r\ncontent-length: 0\r\n\r\n";

async fn query(daemon: &Hostile) -> Result<String, ResolveError> {
    daemon.resolver.version().await
}

#[tokio::test]
async fn a_response_that_is_not_http_is_a_broken_connection() {
    static SCRIPTS: [[Script; 1]; 3] = [
        [Script::RespondAndClose("SSH-2.0-OpenSSH\r\n")],
        [Script::RespondAndClose("\0\0\0\0\0\0\0\0\r\n\r\n")],
        [Script::RespondAndClose("HTTP/1.1 abc\r\n\r\n")],
    ];
    for scripts in &SCRIPTS {
        let daemon = hostile(scripts);
        let fault = query(&daemon).await.unwrap_err();
        assert!(
            matches!(fault, ResolveError::Unavailable { .. }),
            "{fault:?}"
        );
        assert_eq!(daemon.n_requests(), 1);
    }
}

#[tokio::test]
async fn a_request_that_was_sent_is_not_sent_again() {
    let daemon = hostile(&[Script::Close]);
    let fault = query(&daemon).await.unwrap_err();
    assert!(
        matches!(fault, ResolveError::Unavailable { .. }),
        "{fault:?}"
    );
    assert_eq!(daemon.n_requests(), 1);
}

#[tokio::test]
async fn a_connection_that_the_daemon_closed_after_its_response_is_not_reused() {
    let daemon = hostile(&[Script::RespondAndClose(EMPTY_OK), Script::Respond(EMPTY_OK)]);
    for _ in 0..3 {
        query(&daemon).await.unwrap();
    }
    assert_eq!(daemon.n_requests(), 3);
}

#[tokio::test]
async fn connection_close_is_respected() {
    const CLOSING: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/proto\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let daemon = hostile(&[Script::Respond(CLOSING)]);
    for _ in 0..3 {
        query(&daemon).await.unwrap();
    }
    assert_eq!(daemon.n_requests(), 3);
}

#[tokio::test]
async fn a_truncated_body_is_an_error() {
    let daemon = hostile(&[Script::RespondAndClose(
        "HTTP/1.1 200 OK\r\ncontent-type: application/proto\r\ncontent-length: 10\r\n\r\n\x0a\x08",
    )]);
    let fault = query(&daemon).await.unwrap_err();
    assert!(
        matches!(fault, ResolveError::Unavailable { .. }),
        "{fault:?}"
    );
}

#[tokio::test]
async fn a_response_of_another_content_type_is_not_decoded() {
    let daemon = hostile(&[Script::Respond(
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 5\r\n\r\nhello",
    )]);
    let fault = query(&daemon).await.unwrap_err();
    assert!(matches!(fault, ResolveError::Other(_)), "{fault:?}");
}

#[tokio::test]
async fn a_compression_that_was_not_offered_is_refused() {
    let daemon = hostile(&[Script::Respond(
        "HTTP/1.1 200 OK\r\ncontent-type: application/proto\r\ncontent-encoding: br\r\ncontent-length: 5\r\n\r\nhello",
    )]);
    let fault = query(&daemon).await.unwrap_err();
    assert!(matches!(fault, ResolveError::Other(_)), "{fault:?}");
}

#[tokio::test]
async fn a_bare_status_is_read_by_its_number() {
    let daemon = hostile(&[Script::Respond(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
    )]);
    assert!(matches!(
        query(&daemon).await.unwrap_err(),
        ResolveError::Unavailable { .. }
    ));
    let daemon = hostile(&[Script::Respond(
        "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n",
    )]);
    assert!(matches!(
        query(&daemon).await.unwrap_err(),
        ResolveError::Denied { .. }
    ));
}

#[tokio::test]
async fn a_silent_daemon_costs_the_timeout() {
    let home = Home::new();
    let _listener = std::os::unix::net::UnixListener::bind(home.socket()).unwrap();
    let socket = DaemonSocket::at(home.socket().into());
    let resolver = Resolver::new(socket).with_timeout(Duration::from_millis(30));
    let fault = resolver.version().await.unwrap_err();
    assert!(matches!(fault, ResolveError::TimedOut { .. }), "{fault:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_callers_share_a_resolver_without_a_failure() {
    let home = Home::new();
    let daemon = ScriptedDaemon::serve(home.socket(), crate::script::router());
    let resolver = Resolver::new(DaemonSocket::at(home.socket().into()).max_idle(64));
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let resolver = resolver.clone();
        callers.spawn(async move {
            for _ in 0..20 {
                let envelope = resolver
                    .get_one(&"demo/hit".parse().unwrap())
                    .await
                    .unwrap();
                assert_eq!(envelope.value.expose(), b"dummy");
            }
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended.unwrap();
    }
    let n_accepted = daemon.n_accepted();
    assert!(n_accepted <= 64, "{n_accepted} connections");
}

#[tokio::test]
async fn the_text_of_a_broken_connection() {
    let daemon = hostile(&[Script::Close]);
    insta::assert_snapshot!(query(&daemon).await.unwrap_err(), @"the connection to the daemon broke: the peer closed the connection without a response");
}
