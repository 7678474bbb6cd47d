//! HTTP/2 without TLS: detection, and the end of connections without work.

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use keyway_http::{HttpService, Limits, RequestBody, ServeError, serve_connection};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tower::service_fn;

const SECOND: Duration = Duration::from_secs(1);

type Ended = JoinHandle<Result<(), ServeError>>;

fn serve_with<S: HttpService + Sync>(limits: Limits, service: S) -> (DuplexStream, Ended) {
    let (near, far) = tokio::io::duplex(1024 * 1024);
    let served = async move { serve_connection(far, service, &limits, pending()).await };
    (near, tokio::spawn(served))
}

/// A server that returns the body of a request.
fn served() -> (DuplexStream, Ended) {
    let echo = service_fn(|request: http::Request<RequestBody>| async {
        let body = request.into_body().collect().await;
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        Ok::<_, Infallible>(http::Response::new(Full::new(body)))
    });
    serve_with(Limits::default(), echo)
}

async fn client(
    io: DuplexStream,
    window: u32,
) -> (
    h2::client::SendRequest<Bytes>,
    JoinHandle<Result<(), h2::Error>>,
) {
    let mut builder = h2::client::Builder::new();
    let builder = builder.initial_connection_window_size(4 * 1024 * 1024);
    let handshake = builder.initial_window_size(window).handshake(io);
    let (client, connection) = handshake.await.expect("a handshake");
    (client, tokio::spawn(connection))
}

fn post() -> http::Request<()> {
    http::Request::post("http://localhost/")
        .body(())
        .expect("a valid request")
}

#[tokio::test(start_paused = true)]
async fn a_connection_with_the_preface_of_http2_is_served() {
    let (io, _served) = served();
    let (mut client, _connection) = client(io, 65_535).await;
    let (response, mut body) = client.send_request(post(), false).expect("sent");
    body.send_data(Bytes::from_static(b"hello"), true)
        .expect("sent");
    let response = response.await.expect("a response");
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    assert_eq!(body.data().await.expect("data").expect("data"), "hello");
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed() {
    let (io, served) = served();
    let (_client, _connection) = client(io, 65_535).await;
    let started = Instant::now();
    served.await.expect("no panic").expect("an orderly end");
    assert_eq!(started.elapsed(), 120 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_acknowledges_no_ping_is_disconnected() {
    let (mut io, served) = served();
    io.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .expect("taken");
    let started = Instant::now();
    // The response is not read either.
    assert!(served.await.expect("no panic").is_err());
    assert_eq!(started.elapsed(), 40 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn an_incomplete_preface_is_an_incomplete_head() {
    let (mut io, served) = served();
    io.write_all(b"PRI * HTTP/2.0\r\n").await.expect("taken");
    let started = Instant::now();
    let ended = served.await.expect("no panic");
    assert!(
        matches!(ended, Err(ServeError::SlowHead { .. })),
        "{ended:?}"
    );
    assert_eq!(started.elapsed(), 10 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_begins_like_the_preface_is_http1() {
    let (mut io, _served) = served();
    for byte in b"PROPFIND / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" {
        io.write_all(&[*byte]).await.expect("taken");
        tokio::task::yield_now().await;
    }
    let mut response = String::new();
    io.read_to_string(&mut response).await.expect("a response");
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
}

/// A server whose responses have this many bytes.
fn serve_bytes(bytes: usize) -> (DuplexStream, Ended) {
    let large = service_fn(move |_: http::Request<RequestBody>| async move {
        let body = Full::new(Bytes::from(vec![b'x'; bytes]));
        Ok::<_, Infallible>(http::Response::new(body))
    });
    serve_with(Limits::default(), large)
}

/// Counts the handlers that are alive.
#[derive(Clone, Default)]
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn enter(&self) -> Self {
        self.0.fetch_add(1, Ordering::SeqCst);
        self.clone()
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// One handler.
struct Handler(Alive);

impl Drop for Handler {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A server whose handlers never end.
fn serve_hanging(limits: Limits) -> (DuplexStream, Ended, Alive) {
    let handlers = Alive::default();
    let counted = handlers.clone();
    let hang = service_fn(move |_: http::Request<RequestBody>| {
        let handler = Handler(counted.enter());
        async move {
            let _handler = handler;
            pending::<Result<http::Response<Full<Bytes>>, Infallible>>().await
        }
    });
    let (io, ended) = serve_with(limits, hang);
    (io, ended, handlers)
}

fn get() -> http::Request<()> {
    http::Request::get("http://localhost/")
        .body(())
        .expect("a valid request")
}

/// Reads a response as a peer that takes all at once.
async fn read_all(mut body: h2::RecvStream) -> Result<usize, h2::Error> {
    let mut read = 0;
    while let Some(data) = body.data().await {
        let bytes = data?.len();
        read += bytes;
        body.flow_control().release_capacity(bytes)?;
    }
    Ok(read)
}

#[tokio::test(start_paused = true)]
async fn a_response_without_progress_is_reset_beside_others_that_are_served() {
    let (io, _served) = serve_bytes(1024 * 1024);
    let (mut client, _connection) = client(io, 65_535).await;
    let (stalled, _) = client.send_request(get(), true).expect("sent");
    let mut stalled = stalled.await.expect("a response").into_body();
    let started = Instant::now();
    let reset = async {
        while let Some(data) = stalled.data().await {
            if let Err(error) = data {
                return (error.reason(), started.elapsed());
            }
        }
        panic!("a response without a window cannot be complete");
    };
    let busy = async {
        for _ in 0..5 {
            let (response, _) = client.send_request(get(), true).expect("sent");
            let read = read_all(response.await.expect("a response").into_body()).await;
            assert_eq!(read.expect("a whole response"), 1024 * 1024);
            tokio::time::sleep(10 * SECOND).await;
        }
    };
    let ((reason, elapsed), ()) = tokio::join!(reset, busy);
    assert_eq!((reason, elapsed.as_secs()), (Some(h2::Reason::CANCEL), 30));
}

#[tokio::test(start_paused = true)]
async fn a_reader_of_64_kib_in_30_seconds_gets_all_of_a_response() {
    let (io, _served) = serve_bytes(1024 * 1024);
    let (mut client, _connection) = client(io, 65_535).await;
    let (response, _) = client.send_request(get(), true).expect("sent");
    let mut body = response.await.expect("a response").into_body();
    let (mut read, mut unreleased) = (0, 0);
    while let Some(data) = body.data().await {
        let bytes = data.expect("it is not reset").len();
        (read, unreleased) = (read + bytes, unreleased + bytes);
        if unreleased >= 48 * 1024 {
            tokio::time::sleep(10 * SECOND).await;
            body.flow_control()
                .release_capacity(std::mem::take(&mut unreleased))
                .expect("it was received");
        }
    }
    assert_eq!(read, 1024 * 1024);
}

/// hyper has handed over all of the response, so that the stream alone cannot be ended.
#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_take_the_end_of_a_response_is_disconnected() {
    let (io, served) = serve_bytes(10);
    let (mut client, _connection) = client(io, 1).await;
    let (_response, _) = client.send_request(get(), true).expect("sent");
    let started = Instant::now();
    let ended = served.await.expect("no panic");
    assert!(
        matches!(ended, Err(ServeError::SlowReader { .. })),
        "{ended:?}"
    );
    assert_eq!(started.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_peer_without_a_window_ends_idle() {
    let (io, served) = serve_bytes(8 * 1024 * 1024);
    let (mut client, _connection) = client(io, 0).await;
    let (response, _) = client.send_request(get(), true).expect("sent");
    let started = Instant::now();
    let mut body = response.await.expect("a response").into_body();
    let reset = body.data().await.expect("an end").expect_err("a reset");
    assert_eq!(reset.reason(), Some(h2::Reason::CANCEL));
    assert_eq!(started.elapsed().as_secs(), 30);
    served.await.expect("no panic").expect("an orderly end");
    assert_eq!(started.elapsed().as_secs(), 150);
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_body_stops_arriving_is_reset() {
    let (io, _served) = served();
    let (mut client, _connection) = client(io, 65_535).await;
    let (response, mut body) = client.send_request(post(), false).expect("sent");
    body.send_data(Bytes::from_static(b"he"), false)
        .expect("sent");
    let started = Instant::now();
    let reset = response.await.expect_err("a reset");
    assert_eq!(reset.reason(), Some(h2::Reason::CANCEL));
    assert_eq!(started.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_connection_has_32_handlers_at_most_and_leaves_none() {
    let (io, served, handlers) = serve_hanging(Limits::default());
    let (client, connection) = client(io, 65_535).await;
    let mut callers = Vec::new();
    for _ in 0..40 {
        let ready = client.clone().ready();
        callers.push(tokio::spawn(async move {
            let mut client = ready.await.expect("the connection is open");
            let (response, _) = client.send_request(get(), true).expect("sent");
            response.await
        }));
    }
    tokio::time::sleep(SECOND).await;
    assert_eq!(handlers.count(), 32);
    // The handler of a caller that cancels its request ends, and a request that waited takes its place.
    callers.drain(..20).for_each(|caller| caller.abort());
    tokio::time::sleep(SECOND).await;
    assert_eq!(handlers.count(), 20);
    connection.abort();
    let _ = served.await.expect("no panic");
    tokio::task::yield_now().await;
    assert_eq!(handlers.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_dropped_aborts_its_handlers() {
    let (io, served, handlers) = serve_hanging(Limits::default());
    let (mut client, _connection) = client(io, 65_535).await;
    let (_response, _) = client.send_request(get(), true).expect("sent");
    tokio::time::sleep(SECOND).await;
    assert_eq!(handlers.count(), 1);
    served.abort();
    tokio::time::sleep(SECOND).await;
    assert_eq!(handlers.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn requests_beyond_the_limit_of_all_connections_are_refused() {
    let (io, _served, handlers) = serve_hanging(Limits::default().max_streams(1));
    let (mut client, _connection) = client(io, 65_535).await;
    let mut waiting = Vec::new();
    for _ in 0..2 {
        waiting.push(client.send_request(get(), true).expect("sent"));
        tokio::task::yield_now().await;
    }
    let (refused, _) = client.send_request(get(), true).expect("sent");
    assert_eq!(refused.await.expect("a response").status(), 503);
    assert_eq!(handlers.count(), 2);
    // The place of a request that ended is free again.
    drop(waiting);
    tokio::time::sleep(SECOND).await;
    assert_eq!(handlers.count(), 0);
    let _waiting = client.send_request(get(), true).expect("sent");
    let _another = client.send_request(get(), true).expect("sent");
    tokio::time::sleep(SECOND).await;
    assert_eq!(handlers.count(), 2);
}

/// curl drops the response of a stream that is reset.
#[tokio::test(start_paused = true)]
async fn the_rest_of_a_request_that_was_responded_to_is_read_for_a_moment() {
    let (io, _served) = serve_bytes(10);
    let (mut client, _connection) = client(io, 65_535).await;
    let (response, mut body) = client.send_request(post(), false).expect("sent");
    let response = response.await.expect("a response before the body");
    assert_eq!(read_all(response.into_body()).await.expect("no reset"), 10);
    // More than the window of a stream.
    body.send_data(Bytes::from(vec![b'a'; 200 * 1024]), true)
        .expect("sent");
    let reset = timeout(3 * SECOND, poll_fn(|cx| body.poll_reset(cx))).await;
    assert!(!matches!(reset, Ok(Ok(_))), "{reset:?}");
    // A client that does not end its request in time is stopped.
    let (response, mut body) = client.send_request(post(), false).expect("sent");
    response.await.expect("a response");
    let started = Instant::now();
    let reset = poll_fn(|cx| body.poll_reset(cx)).await.expect("a reset");
    assert_eq!(reset, h2::Reason::NO_ERROR);
    assert_eq!(started.elapsed().as_secs(), 2);
}
