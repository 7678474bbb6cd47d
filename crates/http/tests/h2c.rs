//! HTTP/2 without TLS: how it is recognized, and that no connection lasts without work.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use keyway_http::{Limits, RequestBody, ServeError, serve_connection};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tower::service_fn;

const SECOND: Duration = Duration::from_secs(1);

/// A server that returns the body of a request.
fn served() -> (DuplexStream, JoinHandle<Result<(), ServeError>>) {
    let (near, far) = tokio::io::duplex(1024 * 1024);
    let echo = service_fn(|request: http::Request<RequestBody>| async {
        let body = request.into_body().collect().await;
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        Ok::<_, Infallible>(http::Response::new(Full::new(body)))
    });
    let limits = Limits::default();
    let served = async move { serve_connection(far, echo, &limits, pending()).await };
    (near, tokio::spawn(served))
}

async fn client(
    io: DuplexStream,
    window: u32,
) -> (
    h2::client::SendRequest<Bytes>,
    JoinHandle<Result<(), h2::Error>>,
) {
    let mut builder = h2::client::Builder::new();
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
async fn a_peer_that_answers_no_ping_is_disconnected() {
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
async fn half_a_preface_is_half_a_head() {
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

/// It responds to pings and so is alive, but takes no byte of the response.
#[tokio::test(start_paused = true)]
async fn a_peer_without_a_window_is_disconnected() {
    let (io, served) = served();
    let (mut client, _connection) = client(io, 0).await;
    let (_response, mut body) = client.send_request(post(), false).expect("sent");
    body.send_data(Bytes::from_static(b"hello"), true)
        .expect("sent");
    let started = Instant::now();
    let ended = served.await.expect("no panic");
    assert!(
        matches!(ended, Err(ServeError::SlowReader { .. })),
        "{ended:?}"
    );
    assert!(started.elapsed() <= 60 * SECOND, "{:?}", started.elapsed());
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
