//! HTTP on the streams, as hyper, hyper-util and axum do it.

mod support;

use std::{convert::Infallible, time::Duration};

use axum::{Router, extract::ConnectInfo, routing::get};
use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::{BodyExt, Empty, Full};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use keyway_mux::{Connector, Listener, Role, Session, SessionError, StreamInfo};
use support::{bounded, close, eventually, pair};
use tokio::{io::AsyncWriteExt, task::JoinSet};

async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let close = request.headers().get("connection").cloned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let mut response = Response::new(Full::new(body));
    if let Some(close) = close {
        response.headers_mut().insert("connection", close);
    }
    Ok(response)
}

async fn serve(session: Session) {
    let mut listener = Listener::new(session);
    let mut connections = JoinSet::new();
    while let Some(Ok(stream)) = listener.next().await {
        let server = hyper::server::conn::http1::Builder::new();
        connections.spawn(server.serve_connection(stream, service_fn(echo)));
        while let Some(done) = connections.try_join_next() {
            done.unwrap().unwrap();
        }
    }
    while let Some(done) = connections.join_next().await {
        done.unwrap().unwrap();
    }
}

/// One request on a fresh stream; the connection runs beside it in the same task.
async fn call(session: &Session, body: &'static [u8], close: bool) -> Bytes {
    let stream = session.open().await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    let mut request = Request::post("/").header("host", "peer");
    if close {
        request = request.header("connection", "close");
    }
    let request = request.body(Full::new(Bytes::from_static(body))).unwrap();
    let exchange = async move {
        let response = sender.send_request(request).await.unwrap();
        response.into_body().collect().await.unwrap().to_bytes()
    };
    let (bytes, done) = tokio::join!(exchange, connection);
    done.unwrap();
    bytes
}

#[tokio::test]
async fn m21_http_exchanges_leave_no_stream_open_at_either_end() {
    static LARGE: [u8; 300_000] = [b'x'; 300_000];
    let (client, server) = pair();
    let serving = tokio::spawn(serve(server.session.clone()));
    for round in 0..50 {
        let close = round % 2 == 0;
        let body: &'static [u8] = if round % 10 == 0 { &LARGE } else { b"hello" };
        assert!(bounded("a call", call(&client.session, body, close)).await == body);
    }
    eventually("forgetting the streams", || {
        client.session.stats().open_streams == 0 && server.session.stats().open_streams == 0
    })
    .await;
    bounded("the close", close(&client.session)).await.unwrap();
    bounded("the server", serving).await.unwrap();
}

#[tokio::test]
async fn concurrent_http_exchanges_receive_their_own_responses() {
    let (client, server) = pair();
    let serving = tokio::spawn(serve(server.session));
    let mut calls = JoinSet::new();
    for caller in 0..64usize {
        let session = client.session.clone();
        calls.spawn(async move {
            static TEXT: [u8; 64] = [b'a'; 64];
            for _ in 0..20 {
                let body = &TEXT[..=caller];
                assert_eq!(call(&session, body, false).await, body);
            }
        });
    }
    bounded("the callers", calls.join_all()).await;
    bounded("the close", close(&client.session)).await.unwrap();
    bounded("the server", serving).await.unwrap();
}

#[tokio::test]
async fn the_pooled_client_of_hyper_util_uses_the_connector() {
    let (client, server) = pair();
    let serving = tokio::spawn(serve(server.session));
    let requests = Client::builder(TokioExecutor::new())
        .build::<_, Full<Bytes>>(Connector::new(client.session.clone()));
    for _ in 0..3 {
        let request = Request::post("http://peer/")
            .body(Full::from("pooled"))
            .unwrap();
        let response = bounded("a response", requests.request(request))
            .await
            .unwrap();
        assert!(response.extensions().get::<StreamInfo>().is_some());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "pooled");
    }
    assert_eq!(
        client.session.stats().opened,
        1,
        "the pool keeps the connection"
    );
    drop(requests);
    bounded("the close", close(&client.session)).await.unwrap();
    bounded("the server", serving).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn m30_an_idle_http_connection_does_not_delay_a_close() {
    let (client, server) = support::wired_pair(1 << 16, 1 << 16);
    let serving = tokio::spawn(async move {
        let mut listener = Listener::new(server.session);
        let mut connections = JoinSet::new();
        while let Some(Ok(stream)) = listener.next().await {
            let server = hyper::server::conn::http1::Builder::new();
            connections.spawn(server.serve_connection(stream, service_fn(echo)));
        }
        connections.join_all().await.len()
    });
    // A connection whose first request never comes.
    let mut idle = client.session.open().await.unwrap();
    idle.flush().await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let start = tokio::time::Instant::now();
    let closed = bounded("the close", close(&client.session)).await;
    assert!(matches!(
        closed,
        Err(SessionError::DrainTimeout { streams: 1 })
    ));
    assert!(
        start.elapsed() <= Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(bounded("the server", serving).await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn m30_a_pooled_connection_does_not_delay_a_close_if_the_server_waits_for_draining() {
    let (client, server) = support::wired_pair(1 << 16, 1 << 16);
    let session = server.session.clone();
    let draining = async move { session.peer_draining().await };
    let router = Router::new().route("/", get(async || "here"));
    let serving = axum::serve(Listener::new(server.session.clone()), router)
        .with_graceful_shutdown(draining)
        .into_future();
    let serving = tokio::spawn(serving);
    let requests = Client::builder(TokioExecutor::new())
        .build::<_, Empty<Bytes>>(Connector::new(client.session.clone()));
    let response = bounded("a response", requests.get("http://peer/".parse().unwrap())).await;
    let body = response.unwrap().into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), "here");
    let start = tokio::time::Instant::now();
    bounded("the close", close(&client.session)).await.unwrap();
    assert!(start.elapsed() < Duration::from_millis(100));
    bounded("the server", serving).await.unwrap().unwrap();
    assert_eq!(server.session.stats().open_streams, 0);
}

#[tokio::test]
async fn axum_serves_the_listener_and_stops_with_the_session() {
    struct Credentials(u32);
    let (client, server) = pair();
    let session = server.session.with_peer(Credentials(1000));
    let listener = Listener::new(session.clone());
    let closed = async move { session.closed().await.unwrap() };
    let peer_name = |ConnectInfo(info): ConnectInfo<StreamInfo>| async move {
        let uid = info.peer::<Credentials>().map(|credentials| credentials.0);
        format!(
            "{} {:?} {uid:?} {}",
            info.id(),
            info.role(),
            info.peer::<u8>().is_some()
        )
    };
    let router = Router::new().route("/", get(peer_name));
    let service = router.into_make_service_with_connect_info::<StreamInfo>();
    let serving = tokio::spawn(
        axum::serve(listener, service)
            .with_graceful_shutdown(closed)
            .into_future(),
    );
    let requests = Client::builder(TokioExecutor::new())
        .build::<_, Empty<Bytes>>(Connector::new(client.session.clone()));
    let response = bounded("a response", requests.get("http://peer/".parse().unwrap())).await;
    let body = response
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap()
        .to_bytes();
    assert_eq!(body, format!("1 {:?} Some(1000) false", Role::Server));
    drop(requests);
    bounded("the close", close(&client.session)).await.unwrap();
    bounded("the server", serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn futures_io_reads_writes_and_closes() {
    use futures::AsyncWriteExt as _;
    let (client, server) = pair();
    let mut near = client.session.open().await.unwrap();
    futures::AsyncWriteExt::write_all(&mut near, b"futures")
        .await
        .unwrap();
    near.close().await.unwrap();
    let mut far = server.session.accept().await.unwrap().unwrap();
    let mut text = String::new();
    bounded(
        "the text",
        futures::AsyncReadExt::read_to_string(&mut far, &mut text),
    )
    .await
    .unwrap();
    assert_eq!(text, "futures");
}

#[tokio::test]
async fn m32_a_listener_ends_once_and_does_not_spin() {
    let (client, server) = pair();
    let mut listener = Listener::new(server.session);
    client.driver.abort();
    drop(client);
    assert!(bounded("the end", listener.next()).await.is_none());
    assert!(bounded("the end", listener.next()).await.is_none());

    let (client, server) = pair();
    let (_near, _far) = support::stream(&client.session, &server.session).await;
    let mut listener = Listener::new(server.session);
    client.driver.abort();
    let error = bounded("the end", listener.next())
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotConnected);
    assert!(bounded("the end", listener.next()).await.is_none());
}
