//! Daemons that answer badly, or not: every request ends with its reason.
#![cfg(feature = "socket")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use keyway_resolver::{DaemonSocket, ResolveError, Resolver};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

/// What the daemon does on one connection.
#[derive(Clone, Copy)]
enum Play {
    /// Answers every request with these bytes and keeps the connection.
    Answer(&'static str),
    /// Answers one request with these bytes and closes.
    AnswerAndClose(&'static str),
    /// Reads one request and closes.
    Close,
}

/// A socket where connection n gets the nth play, and the last one from then on.
struct Stage {
    _folder: TempDir,
    resolver: Resolver<DaemonSocket>,
    requests: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn stage(plays: &'static [Play]) -> Stage {
    let folder = TempDir::with_prefix("kw").unwrap();
    let path = folder.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let requests = Arc::new(AtomicUsize::new(0));
    let task = tokio::spawn(perform(listener, plays, Arc::clone(&requests)));
    let resolver = Resolver::new(DaemonSocket::at(path.into()));
    Stage {
        _folder: folder,
        resolver,
        requests,
        task,
    }
}

async fn perform(listener: UnixListener, plays: &'static [Play], requests: Arc<AtomicUsize>) {
    for n in 0.. {
        let (mut stream, _) = listener.accept().await.unwrap();
        let play = plays[n.min(plays.len() - 1)];
        while read_request(&mut stream).await {
            requests.fetch_add(1, Ordering::SeqCst);
            match play {
                Play::Answer(bytes) => stream.write_all(bytes.as_bytes()).await.unwrap(),
                Play::AnswerAndClose(bytes) => {
                    stream.write_all(bytes.as_bytes()).await.unwrap();
                    break;
                }
                Play::Close => break,
            }
        }
    }
}

/// Reads until the head of a request and its short body are there.
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

async fn ask(stage: &Stage) -> Result<String, ResolveError> {
    stage.resolver.version().await
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_a_broken_connection() {
    static PLAYS: [[Play; 1]; 3] = [
        [Play::AnswerAndClose("SSH-2.0-OpenSSH\r\n")],
        [Play::AnswerAndClose("\0\0\0\0\0\0\0\0\r\n\r\n")],
        [Play::AnswerAndClose("HTTP/1.1 abc\r\n\r\n")],
    ];
    for plays in &PLAYS {
        let stage = stage(plays);
        let fault = ask(&stage).await.unwrap_err();
        assert!(
            matches!(fault, ResolveError::Unavailable { .. }),
            "{fault:?}"
        );
        assert_eq!(stage.requests.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn a_request_that_was_sent_is_not_sent_again() {
    let stage = stage(&[Play::Close]);
    let fault = ask(&stage).await.unwrap_err();
    assert!(
        matches!(fault, ResolveError::Unavailable { .. }),
        "{fault:?}"
    );
    assert_eq!(stage.requests.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_connection_that_the_daemon_closed_after_its_answer_is_not_used_again() {
    let stage = stage(&[Play::AnswerAndClose(EMPTY_OK), Play::Answer(EMPTY_OK)]);
    for _ in 0..3 {
        ask(&stage).await.unwrap();
    }
    assert_eq!(stage.requests.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn connection_close_is_respected() {
    const CLOSING: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/proto\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let stage = stage(&[Play::Answer(CLOSING)]);
    for _ in 0..3 {
        ask(&stage).await.unwrap();
    }
    assert_eq!(stage.requests.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_body_cut_short_is_an_error_and_no_answer() {
    let stage = stage(&[Play::AnswerAndClose(
        "HTTP/1.1 200 OK\r\ncontent-type: application/proto\r\ncontent-length: 10\r\n\r\n\x0a\x08",
    )]);
    let fault = ask(&stage).await.unwrap_err();
    assert!(
        matches!(fault, ResolveError::Unavailable { .. }),
        "{fault:?}"
    );
}

#[tokio::test]
async fn an_answer_of_another_kind_is_not_mistaken_for_a_message() {
    let stage = stage(&[Play::Answer(
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 5\r\n\r\nhello",
    )]);
    let fault = ask(&stage).await.unwrap_err();
    assert!(matches!(fault, ResolveError::Other(_)), "{fault:?}");
}

#[tokio::test]
async fn a_compression_that_was_not_offered_is_refused() {
    let stage = stage(&[Play::Answer(
        "HTTP/1.1 200 OK\r\ncontent-type: application/proto\r\ncontent-encoding: br\r\ncontent-length: 5\r\n\r\nhello",
    )]);
    let fault = ask(&stage).await.unwrap_err();
    assert!(matches!(fault, ResolveError::Other(_)), "{fault:?}");
}

#[tokio::test]
async fn a_bare_status_is_read_by_its_number() {
    let stage = stage(&[Play::Answer(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
    )]);
    assert!(matches!(
        ask(&stage).await.unwrap_err(),
        ResolveError::Unavailable { .. }
    ));
    let stage = self::stage(&[Play::Answer(
        "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n",
    )]);
    assert!(matches!(
        ask(&stage).await.unwrap_err(),
        ResolveError::Denied { .. }
    ));
}

#[tokio::test]
async fn a_daemon_that_accepts_and_is_silent_is_given_up_in_time() {
    let folder = TempDir::with_prefix("kw").unwrap();
    let path = folder.path().join("s");
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let resolver =
        Resolver::new(DaemonSocket::at(path.into())).with_timeout(Duration::from_millis(30));
    let fault = resolver.version().await.unwrap_err();
    assert!(matches!(fault, ResolveError::TimedOut { .. }), "{fault:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_callers_share_a_resolver_without_a_failure() {
    let folder = TempDir::with_prefix("kw").unwrap();
    let daemon = support::Daemon::listen(folder.path().join("s"));
    let resolver = Resolver::new(DaemonSocket::at(daemon.address()).max_idle(64));
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
    assert!(daemon.accepted() <= 64, "{} connections", daemon.accepted());
}

#[tokio::test]
async fn the_words_of_a_broken_connection() {
    let stage = stage(&[Play::Close]);
    insta::assert_snapshot!(ask(&stage).await.unwrap_err(), @"the connection to the daemon broke: the peer closed the connection without an answer");
}
