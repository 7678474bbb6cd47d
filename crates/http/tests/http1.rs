//! Requests on one connection: their arrival in pieces, pipelining, and the end of the connection.

mod support;

use std::time::Duration;

use keyway_http::{Limits, RequestBody, ServeError};
use keyway_test_support::echo::rpc::{Body, Code, Error, Request, Response, Route, Router};
use keyway_test_support::echo::{Alive, HANG, Memory, Text, router};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

use support::{connection, head};

/// Returns all response bytes to a request that arrives in these pieces.
async fn response(pieces: &[&[u8]]) -> String {
    let mut io = Memory::new(router(&Alive::default()).max_message_size(1000)).open();
    for piece in pieces {
        // A server may stop reading early; only its response matters then.
        let _ = io.write_all(piece).await;
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
    }
    support::read_raw(&mut io).await
}

/// A POST of these bytes to the echo.
fn post(lines: &str, body: &[u8]) -> Vec<u8> {
    let length = format!("content-length: {}\r\n{lines}", body.len());
    [head(&length).as_bytes(), body].concat()
}

fn requests() -> Vec<Vec<u8>> {
    let message = b"\n\x05hello";
    let get = |query: &str| format!("GET /test.Echo/Read?{query} HTTP/1.1\r\nhost: x\r\n\r\n");
    vec![
        post("", message),
        post("x-one: 1\r\nX-One: 2\r\nx-two-bin: AQ\r\n", message),
        post("x-one:\r\nx-one: \r\nx-two-bin: \t AQ \t\r\n", message),
        post("", b""),
        post("connect-timeout-ms: 0\r\n", message),
        post("connect-timeout-ms: x\r\n", message),
        post("connect-protocol-version: 2\r\n", message),
        post("content-encoding: br\r\n", message),
        post("", b"\n\xffhello"),
        post("", &[b'a'; 2000]),
        post("connection: close\r\n", message),
        post("connection: keep-alive\r\n", message),
        post("expect: 100-continue\r\n", message),
        post("upgrade: h2c\r\nconnection: upgrade\r\n", message),
        post("te: trailers\r\n", message),
        post("content-length: 7\r\n", message),
        post("content-length: 8\r\n", message),
        post("transfer-encoding: chunked\r\n", b"0\r\n\r\n"),
        [
            head("content-length: 8\r\ncontent-length: 7\r\n").as_bytes(),
            message,
        ]
        .concat(),
        head("content-length: +7\r\n").into_bytes(),
        head("content-length: 7, 7\r\n").into_bytes(),
        head("content-length: 07\r\n").into_bytes(),
        head("").into_bytes(),
        head("x y: z\r\n").into_bytes(),
        head("x: a\n b\r\n").into_bytes(),
        head("transfer-encoding: chunked\r\n").into_bytes(),
        get("connect=v1&encoding=proto&base64=1&message=CgVoZWxsbw").into_bytes(),
        get("connect=v1&encoding=proto").into_bytes(),
        b"GET /health HTTP/1.1\r\n\r\n".to_vec(),
        b"GET health HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        b"GET http://x/health HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        b"GET /health HTTP/1.0\r\nhost: x\r\n\r\n".to_vec(),
        b"HEAD /health HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        b"CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        b"POST /test.Echo/Echo\r\n\r\n".to_vec(),
    ]
}

#[tokio::test(start_paused = true)]
async fn requests_are_read_alike_in_pieces_of_any_size() {
    for request in requests() {
        let shown = String::from_utf8_lossy(&request);
        let whole = response(&[&request]).await;
        for cut in [1, request.len() / 2, request.len() - 1] {
            let (front, rest) = request.split_at(cut);
            assert_eq!(response(&[front, rest]).await, whole, "{shown:?} at {cut}");
        }
        // The same again behind another request.
        let before = post("", b"");
        let (front, rest) = before.split_at(10);
        let both = response(&[front, rest, &request]).await;
        let first = response(&[front, rest]).await;
        assert_eq!(both, format!("{first}{whole}"), "{shown:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pipelined_request_has_the_same_response_as_the_first() {
    let first = post("x-one: 1\r\n", b"\n\x05hello");
    let alone = response(&[&first]).await;
    assert!(alone.starts_with("HTTP/1.1 200 OK\r\n"), "{alone}");
    for request in requests() {
        let shown = String::from_utf8_lossy(&request);
        let expected = format!("{alone}{}", response(&[&request]).await);
        let pipelined = [first.as_slice(), &request].concat();
        assert_eq!(
            response(&[&pipelined]).await,
            expected,
            "{shown:?}, at once"
        );
        assert_eq!(
            response(&[&first, &request]).await,
            expected,
            "{shown:?}, later"
        );
        let (front, rest) = request.split_at(request.len() / 2);
        assert_eq!(
            response(&[&first, front, rest]).await,
            expected,
            "{shown:?}, in pieces"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_ends_its_input_drops_the_handler() {
    let alive = Alive::default();
    let (_stop, stopped) = oneshot::channel();
    let (mut io, ended) = connection(Limits::default(), router(&alive), stopped);
    let request = head("content-length: 0\r\n").replace("Echo/Echo", "Echo/Hang");
    io.write_all(request.as_bytes())
        .await
        .expect("the server reads");
    while alive.count() == 0 {
        tokio::task::yield_now().await;
    }
    io.shutdown().await.expect("the server reads");
    let ended = ended.await.expect("no panic");
    assert!(matches!(ended, Err(ServeError::PeerGone)), "{ended:?}");
    assert_eq!(alive.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn shutdown_finishes_a_request_and_reads_no_other() {
    let (release, released) = oneshot::channel::<()>();
    let released = std::sync::Arc::new(tokio::sync::Mutex::new(Some(released)));
    let wait = move |_: Request<Text>| {
        let released = released.clone();
        async move {
            let released = released.lock().await.take().expect("called once");
            released
                .await
                .map_err(|_| Error::new(Code::Aborted, "not released"))?;
            Ok(Response::new(Text::from("done")))
        }
    };
    let router = Router::new().add_route(Route::unary(&HANG, wait));
    let (stop, stopped) = oneshot::channel();
    let (mut io, ended) = connection(Limits::default(), router, stopped);
    let request = head("content-length: 0\r\n").replace("Echo/Echo", "Echo/Hang");
    io.write_all(request.as_bytes())
        .await
        .expect("the server reads");
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.send(()).expect("the connection is there");
    tokio::time::sleep(Duration::from_secs(1)).await;
    release.send(()).expect("the handler waits");
    io.write_all(&request.into_bytes())
        .await
        .expect("still open");
    let response = support::read_raw(&mut io).await;
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    assert!(response.contains("\r\nconnection: close\r\n"), "{response}");
    assert_eq!(response.matches("HTTP/1.1").count(), 1, "{response}");
    ended.await.expect("no panic").expect("an orderly end");
}

/// The resolution of tokio's timers.
const TIMER_STEP: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn shutdown_ends_an_idle_connection_at_once() {
    for requests in 0..3 {
        let (stop, stopped) = oneshot::channel();
        let (mut io, ended) = connection(Limits::default(), router(&Alive::default()), stopped);
        for _ in 0..requests {
            io.write_all(&post("", b""))
                .await
                .expect("the server reads");
            let mut first = [0; 15];
            io.read_exact(&mut first)
                .await
                .expect("the server responds");
        }
        let started = tokio::time::Instant::now();
        stop.send(()).expect("the connection is there");
        ended.await.expect("no panic").expect("an orderly end");
        support::read_raw(&mut io).await;
        // The first request may be on its way.
        let grace = Duration::from_millis(if requests == 0 { 100 } else { 0 });
        assert!(started.elapsed() <= grace + TIMER_STEP && started.elapsed() >= grace);
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_request_of_a_connection_is_served_although_the_server_stops() {
    let (stop, stopped) = oneshot::channel();
    let (mut io, ended) = connection(Limits::default(), router(&Alive::default()), stopped);
    stop.send(()).expect("the connection is there");
    tokio::time::sleep(Duration::from_millis(50)).await;
    io.write_all(&post("", b"")).await.expect("still open");
    let response = support::read_raw(&mut io).await;
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    assert!(response.contains("\r\nconnection: close\r\n"), "{response}");
    ended.await.expect("no panic").expect("an orderly end");
}

/// A response in chunks, one without a body, and one that fails.
#[tokio::test(start_paused = true)]
async fn a_body_has_the_framing_of_its_length_and_status() {
    let service = support::tower_fn(|request: http::Request<RequestBody>| {
        let frames = ["a", "bc"].map(|text| {
            let result: Result<_, std::io::Error> = Ok(http_body::Frame::data(
                bytes::Bytes::from_static(text.as_bytes()),
            ));
            result
        });
        let streamed = http_body_util::StreamBody::new(Frames(frames.into_iter().collect()));
        let response = http::Response::builder();
        match request.uri().path() {
            "/chunks" => response.body(Body::new(streamed)),
            "/none" => response.status(204).body(Body::empty()),
            "/close" => response.header("connection", "close").body(Body::full("x")),
            _ => response.status(800).body(Body::full("x")),
        }
        .expect("a valid response")
    });
    for path in ["/chunks", "/none", "/close", "/other"] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        let mut responses = Vec::new();
        for cut in [request.len(), 10] {
            let (_stop, stopped) = oneshot::channel();
            let (mut io, _ended) = connection(Limits::default(), service.clone(), stopped);
            for piece in [&request[..cut], &request[cut..]] {
                io.write_all(piece.as_bytes())
                    .await
                    .expect("the server reads");
                tokio::task::yield_now().await;
            }
            responses.push(support::read_raw(&mut io).await);
        }
        assert_eq!(responses[0], responses[1]);
    }
}

/// A stream of bytes that have arrived already.
struct Frames<T>(std::collections::VecDeque<T>);

impl<T: Unpin> futures_core::Stream for Frames<T> {
    type Item = T;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<T>> {
        std::task::Poll::Ready(self.0.pop_front())
    }
}
