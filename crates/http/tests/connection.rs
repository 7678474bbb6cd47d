//! Effects of one request on its connection: `100 Continue`, half-close, upgrades.

mod support;

use std::future::pending;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use keyway_http::{Limits, OnUpgrade, RequestBody, ServeError, Upgraded, serve};
use keyway_test_support::echo::rpc::Body;
use keyway_test_support::echo::{Alive, Memory, router};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

use support::{connection, head, raw, read_raw, tower_fn};

#[tokio::test(start_paused = true)]
async fn continue_is_sent_when_the_service_reads_the_body() {
    let (mut io, _ended) = connection(
        Limits::default(),
        router(&Alive::default()),
        oneshot::channel().1,
    );
    let request = head("content-length: 7\r\nexpect: 100-continue\r\nconnection: close\r\n");
    io.write_all(request.as_bytes()).await.expect("taken");
    let mut interim = [0; 25];
    io.read_exact(&mut interim)
        .await
        .expect("an interim response");
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    io.write_all(b"\n\x05hello").await.expect("taken");
    let response = read_raw(&mut io).await;
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
}

#[tokio::test(start_paused = true)]
async fn a_response_without_reading_the_body_replaces_the_interim_response() {
    let refuse = tower_fn(|_| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::FORBIDDEN;
        response
    });
    let (mut io, ended) = connection(Limits::default(), refuse, oneshot::channel().1);
    let request = head("content-length: 100000000\r\nexpect: 100-continue\r\n");
    io.write_all(request.as_bytes()).await.expect("taken");
    let response = read_raw(&mut io).await;
    assert!(
        response.starts_with("HTTP/1.1 403 Forbidden\r\nconnection: close\r\n"),
        "{response}"
    );
    ended.await.expect("no panic").expect("an orderly end");
}

#[tokio::test(start_paused = true)]
async fn a_half_closed_client_receives_its_response_if_allowed() {
    for may in [false, true] {
        let limits = Limits::default().half_closed_clients(may);
        let alive = Alive::default();
        let router = router(&alive).max_timeout(Duration::from_secs(5));
        let (mut io, ended) = connection(limits, router, oneshot::channel().1);
        let request = head("content-length: 0\r\n").replace("Echo/Echo", "Echo/Hang");
        io.write_all(request.as_bytes()).await.expect("taken");
        io.shutdown().await.expect("taken");
        let response = read_raw(&mut io).await;
        let ended = ended.await.expect("no panic");
        if may {
            assert!(response.starts_with("HTTP/1.1 504 "), "{response}");
            assert!(response.contains("\r\nconnection: close\r\n"), "{response}");
            ended.expect("an orderly end");
        } else {
            assert_eq!(response, "");
            assert!(matches!(ended, Err(ServeError::PeerGone)), "{ended:?}");
        }
    }
}

/// Switches to a protocol that echoes.
fn switch(_: http::Request<RequestBody>) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response
        .headers_mut()
        .insert("upgrade", HeaderValue::from_static("echo"));
    let echo = |mut io: Upgraded| async move {
        let mut buffer = [0; 16];
        while let Ok(len @ 1..) = io.read(&mut buffer).await {
            io.write_all(&buffer[..len]).await.expect("taken");
        }
    };
    response.extensions_mut().insert(OnUpgrade::new(echo));
    response
}

const UPGRADE: &[u8] =
    b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nfirst";

const SWITCHED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn bytes_behind_the_request_are_read_first_after_an_upgrade() {
    let (mut io, ended) = connection(Limits::default(), tower_fn(switch), oneshot::channel().1);
    io.write_all(UPGRADE).await.expect("taken");
    // Longer than any timeout of HTTP.
    tokio::time::sleep(Duration::from_secs(1000)).await;
    io.write_all(b" second").await.expect("taken");
    io.shutdown().await.expect("taken");
    assert_eq!(read_raw(&mut io).await, format!("{SWITCHED}first second"));
    ended.await.expect("no panic").expect("an orderly end");
}

#[tokio::test(start_paused = true)]
async fn an_upgraded_connection_frees_its_place() {
    let (connect, mut connections) = tokio::sync::mpsc::channel(4);
    let listener =
        futures::stream::poll_fn(move |cx| connections.poll_recv(cx).map(|io| io.map(Ok)));
    let limits = Limits::default().max_connections(1).reserved_connections(0);
    let serving = serve(listener, |_: &_, _| tower_fn(switch), limits, pending());
    let _serving = tokio::spawn(serving);
    let mut upgraded = Vec::new();
    for _ in 0..3 {
        let (mut near, far) = tokio::io::duplex(1024);
        connect.send(far).await.expect("the server runs");
        near.write_all(UPGRADE).await.expect("taken");
        let mut response = vec![0; SWITCHED.len() + 5];
        near.read_exact(&mut response).await.expect("upgraded");
        upgraded.push(near);
    }
    for io in &mut upgraded {
        io.write_all(b"x").await.expect("taken");
        assert_eq!(io.read_u8().await.expect("repeated"), b'x');
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_that_offers_an_upgrade_has_both_fields() {
    let offer = tower_fn(|_| {
        let response = Response::builder().status(426).header("upgrade", "tcp");
        response
            .header("connection", "upgrade")
            .body(Body::full(Bytes::from_static(b"x")))
            .expect("valid")
    });
    let (mut io, _ended) = connection(Limits::default(), offer, oneshot::channel().1);
    io.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .expect("taken");
    let response = read_raw(&mut io).await;
    assert!(
        response.contains("\r\nconnection: close, upgrade\r\n"),
        "{response}"
    );
    assert!(response.contains("\r\nupgrade: tcp\r\n"), "{response}");
}

/// A body that stops arriving fails after the body timeout, in the service.
#[tokio::test(start_paused = true)]
async fn a_body_that_stops_arriving_is_an_error_of_the_body() {
    let memory = Memory::new(router(&Alive::default()).read_timeout(Duration::from_secs(600)));
    let started = tokio::time::Instant::now();
    let response = raw(
        &memory,
        &[head("content-length: 7\r\n").as_bytes(), b"\n\x05he"],
    )
    .await;
    assert!(response.starts_with("HTTP/1.1 499 "), "{response}");
    assert_eq!(started.elapsed(), Duration::from_secs(30));
}

/// The response is complete although the stream is dropped without the flush that a multiplexer would complete later.
#[tokio::test(start_paused = true)]
async fn a_dropped_stream_carries_the_whole_response() {
    let large = "x".repeat(100_000);
    let body = large.clone();
    let service = tower_fn(move |_| Response::new(Body::full(body.clone())));
    let limits = Limits::default().drop_delivers(true);
    let (mut io, ended) = connection(limits, service, oneshot::channel().1);
    io.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .expect("taken");
    let response = read_raw(&mut io).await;
    assert!(response.ends_with(&large), "{} bytes", response.len());
    ended.await.expect("no panic").expect("an orderly end");
}
