//! Kept streams: their reuse, and the requests that are sent twice.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt, Full};
use keyway_http::{ExchangeError, KeptStream, Pool, Repeatable};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tower_service::Service;

/// A step of the server on one connection.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Reads one request and sends these bytes.
    Respond(&'static str),
    /// Reads one request.
    Read,
    /// Waits until the client has seen its last response, then closes.
    CloseWhenIdle,
    /// Sends bytes without a request.
    Send(&'static str),
    /// Reads no part of the next request: every write of the client fails.
    RefuseWrites,
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const LAST: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";

/// A server whose nth connection follows the nth script and closes after it.
#[derive(Clone)]
struct Server {
    scripts: Arc<Mutex<VecDeque<&'static [Step]>>>,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

impl Server {
    fn new(scripts: &[&'static [Step]]) -> Self {
        Self {
            scripts: Arc::new(Mutex::new(scripts.iter().copied().collect())),
            connections: Arc::default(),
            requests: Arc::default(),
            tasks: Arc::default(),
        }
    }

    fn pool(&self) -> Pool<Self> {
        Pool::new(self.clone(), 8)
    }

    fn counts(&self) -> (usize, usize) {
        let count = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
        (count(&self.connections), count(&self.requests))
    }

    async fn follow(self, script: &'static [Step], mut io: UnixStream) {
        for step in script {
            match step {
                Step::Respond(response) => {
                    self.read(&mut io).await;
                    let written = io.write_all(response.as_bytes()).await;
                    written.expect("the client reads");
                }
                Step::Read => self.read(&mut io).await,
                Step::Send(bytes) => io.write_all(bytes.as_bytes()).await.expect("it fits"),
                Step::CloseWhenIdle | Step::RefuseWrites => return,
            }
        }
    }

    /// Reads a request whose body ends with an exclamation mark.
    async fn read(&self, io: &mut UnixStream) {
        while io.read_u8().await.expect("a whole request") != b'!' {}
        self.requests.fetch_add(1, Ordering::SeqCst);
    }
}

impl Service<Uri> for Server {
    type Response = Kept;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<Kept>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let script = self.scripts.lock().expect("not poisoned").pop_front();
        let Some(script) = script else {
            return std::future::ready(Err(io::ErrorKind::ConnectionRefused.into()));
        };
        self.connections.fetch_add(1, Ordering::SeqCst);
        let (near, far) = UnixStream::pair().expect("a socket pair");
        let server = self.clone().follow(script, far);
        self.tasks.lock().expect("not poisoned").spawn(server);
        let refuses_writes = script.iter().any(|step| matches!(step, Step::RefuseWrites));
        std::future::ready(Ok(Kept {
            io: near,
            written: 0,
            refuses_after: refuses_writes.then_some(1),
        }))
    }
}

/// A stream that can be set to fail on reuse before it accepts a byte.
struct Kept {
    io: UnixStream,
    written: usize,
    refuses_after: Option<usize>,
}

impl KeptStream for Kept {
    fn is_idle(&self) -> bool {
        // The stream has ended right after the check.
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        self.refuses_after.is_some()
            || matches!(recv(&self.io, &mut [0_u8; 1], flags), Err(Errno::AGAIN))
    }
}

impl AsyncRead for Kept {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Kept {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self
            .refuses_after
            .is_some_and(|writes| self.written >= writes)
        {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.written += 1;
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

fn request(body: impl Into<Bytes>, is_repeatable: bool) -> Request<Full<Bytes>> {
    let mut request = Request::post("http://x/")
        .body(Full::new(body.into()))
        .expect("valid");
    if is_repeatable {
        request.extensions_mut().insert(Repeatable::default());
    }
    request
}

async fn call(pool: &mut Pool<Server>, is_repeatable: bool) -> Result<Bytes, ExchangeError> {
    send(pool, request("hello!", is_repeatable)).await
}

async fn send(
    pool: &mut Pool<Server>,
    request: Request<Full<Bytes>>,
) -> Result<Bytes, ExchangeError> {
    let exchange = async {
        Ok(pool
            .call(request)
            .await?
            .into_body()
            .collect()
            .await?
            .to_bytes())
    };
    let limited = tokio::time::timeout(Duration::from_secs(60), exchange);
    limited.await.expect("every exchange ends")
}

/// Runs the server's tasks until they wait.
async fn settle() {
    for _ in 0..16 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn requests_share_a_kept_stream() {
    let server = Server::new(&[&[
        Step::Respond(OK),
        Step::Respond(OK),
        Step::Respond(OK),
        Step::Read,
    ]]);
    let mut pool = server.pool();
    for _ in 0..3 {
        assert_eq!(
            call(&mut pool.clone(), false).await.expect("a response"),
            "ok"
        );
    }
    assert_eq!(server.counts(), (1, 3));
    // The server closes behind the fourth request, which may have been handled.
    let failed = call(&mut pool, false).await;
    assert!(matches!(failed, Err(ExchangeError::Closed)), "{failed:?}");
    assert_eq!(server.counts(), (1, 4));
}

#[tokio::test]
async fn a_stream_that_ended_or_has_unread_bytes_is_replaced_before_its_use() {
    for script in [
        &[Step::Respond(OK), Step::CloseWhenIdle],
        &[Step::Respond(OK), Step::Send("HTTP/1.1 408 x\r\n\r\n")],
    ] {
        let server = Server::new(&[script, &[Step::Respond(OK), Step::Read]]);
        let mut pool = server.pool();
        call(&mut pool, false).await.expect("a response");
        settle().await;
        assert_eq!(call(&mut pool, false).await.expect("a response"), "ok");
        assert_eq!(server.counts(), (2, 2), "{script:?}");
    }
}

#[tokio::test]
async fn a_stream_is_not_kept_after_a_response_that_ends_it() {
    let early = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n";
    let old = "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok";
    for response in [LAST, early, old] {
        let server = Server::new(&[&[], &[]]);
        let script: &'static [Step] = Box::leak(Box::new([Step::Respond(response), Step::Read]));
        *server.scripts.lock().expect("not poisoned") = [script, script].into();
        let mut pool = server.pool();
        for _ in 0..2 {
            assert_eq!(call(&mut pool, true).await.expect("a response"), "ok");
        }
        assert_eq!(server.counts(), (2, 2), "{response:?}");
    }
}

#[tokio::test]
async fn a_repeatable_request_is_sent_once_more_if_its_kept_stream_ends_without_a_response() {
    let server = Server::new(&[
        &[Step::Respond(OK), Step::Read],
        &[Step::Respond(OK), Step::Read],
    ]);
    let mut pool = server.pool();
    call(&mut pool, true).await.expect("a response");
    assert_eq!(call(&mut pool, true).await.expect("a response"), "ok");
    assert_eq!(server.counts(), (2, 3));
}

#[tokio::test]
async fn the_second_try_is_the_last_one() {
    let server = Server::new(&[
        &[Step::Respond(OK), Step::Read],
        &[Step::Read],
        &[Step::Respond(OK)],
    ]);
    let mut pool = server.pool();
    call(&mut pool, true).await.expect("a response");
    let failed = call(&mut pool, true).await;
    assert!(matches!(failed, Err(ExchangeError::Closed)), "{failed:?}");
    assert_eq!(server.counts(), (2, 3));
}

#[tokio::test]
async fn the_second_try_uses_a_fresh_stream_although_another_is_kept() {
    let server = Server::new(&[
        &[Step::Respond(OK), Step::Read],
        &[Step::Respond(OK), Step::Read],
        &[Step::Respond(OK)],
    ]);
    let mut pool = server.pool();
    let (first, second) = (
        pool.call(request("1!", true)),
        pool.call(request("2!", true)),
    );
    let (first, second) = tokio::join!(first, second);
    for response in [first, second] {
        response
            .expect("a response")
            .into_body()
            .collect()
            .await
            .expect("a body");
    }
    assert_eq!(server.counts(), (2, 2));
    assert_eq!(call(&mut pool, true).await.expect("a response"), "ok");
    assert_eq!(server.counts(), (3, 4));
}

#[tokio::test]
async fn a_request_on_a_fresh_stream_is_sent_once() {
    let server = Server::new(&[&[Step::Read], &[Step::Respond(OK)]]);
    let failed = call(&mut server.pool(), true).await;
    assert!(matches!(failed, Err(ExchangeError::Closed)), "{failed:?}");
    assert_eq!(server.counts(), (1, 1));
}

#[tokio::test]
async fn a_request_whose_response_has_begun_is_never_repeated() {
    for begun in [
        "H",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no",
    ] {
        let script: &'static [Step] =
            Box::leak(Box::new([Step::Respond(OK), Step::Respond(begun)]));
        let server = Server::new(&[script, &[Step::Respond(OK)]]);
        let mut pool = server.pool();
        call(&mut pool, true).await.expect("a response");
        let failed = call(&mut pool, true).await;
        assert!(
            matches!(failed, Err(ExchangeError::Truncated)),
            "{begun:?}: {failed:?}"
        );
        assert_eq!(server.counts(), (1, 2), "{begun:?}");
    }
}

/// A request of which nothing was sent was not handled, so even one with effects may be repeated.
#[tokio::test]
async fn a_request_of_which_nothing_was_sent_is_sent_on_a_fresh_stream() {
    for body in ["hello!".to_owned(), "a".repeat(100_000) + "!"] {
        let server = Server::new(&[
            &[Step::Respond(OK), Step::RefuseWrites],
            &[Step::Respond(OK)],
        ]);
        let mut pool = server.pool();
        call(&mut pool, false).await.expect("a response");
        assert_eq!(
            send(&mut pool, request(body, false))
                .await
                .expect("a response"),
            "ok"
        );
        assert_eq!(server.counts(), (2, 2));
    }
}

/// The bytes that are kept for a second try are limited.
#[tokio::test]
async fn a_repeatable_request_is_held_up_to_its_limit() {
    for (size, is_repeated) in [(5_000, true), (64 * 1024, true), (64 * 1024 + 1, false)] {
        let server = Server::new(&[&[Step::Respond(OK), Step::Read], &[Step::Respond(OK)]]);
        let mut pool = server.pool();
        call(&mut pool, true).await.expect("a response");
        let body = "a".repeat(size - 1) + "!";
        let sent = send(&mut pool, request(body, true)).await;
        assert_eq!(sent.is_ok(), is_repeated, "{size}: {sent:?}");
        assert_eq!(server.counts(), if is_repeated { (2, 3) } else { (1, 2) });
    }
}

const FOUR: &[Step] = &[
    Step::Respond(OK),
    Step::Respond(OK),
    Step::Respond(OK),
    Step::Respond(OK),
];

#[tokio::test]
async fn the_number_of_kept_streams_is_limited() {
    let server = Server::new(&[FOUR; 6]);
    let pool = Pool::new(server.clone(), 2);
    let call = || {
        let mut pool = pool.clone();
        async move { call(&mut pool, false).await.expect("a response") }
    };
    tokio::join!(call(), call(), call(), call());
    assert_eq!(server.counts(), (4, 4));
    tokio::join!(call(), call(), call());
    assert_eq!(server.counts(), (5, 7));
}

#[tokio::test]
async fn a_kept_stream_that_ended_is_replaced_by_another() {
    let ends: &[Step] = &[Step::Respond(OK), Step::CloseWhenIdle];
    let server = Server::new(&[ends, FOUR, FOUR, FOUR]);
    let mut pool = Pool::new(server.clone(), 2);
    let mut open = Vec::new();
    for response in [
        pool.call(request("!", false)),
        pool.call(request("!", false)),
        pool.call(request("!", false)),
    ] {
        open.push(tokio::spawn(response));
    }
    let last = open.pop().expect("three");
    for response in open {
        let response = response.await.expect("no panic").expect("a response");
        response.into_body().collect().await.expect("a body");
    }
    settle().await;
    let last = last.await.expect("no panic").expect("a response");
    last.into_body().collect().await.expect("a body");
    assert_eq!(server.counts(), (3, 3));
    let call = || {
        let mut pool = pool.clone();
        async move { call(&mut pool, false).await.expect("a response") }
    };
    tokio::join!(call(), call());
    assert_eq!(server.counts(), (3, 5));
}
