//! Calls over HTTP/2: hyper on one side, and a peer of bare `h2` that resets streams.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use keyway_rpc::client::Client;
use keyway_rpc::{Body, BoxError, Code, Error, Request, Response, Route, Router};
use keyway_test_support::echo::{ECHO, Text};
use tokio::io::DuplexStream;
use tower_service::Service;

/// The executor of hyper's HTTP/2.
#[derive(Clone)]
struct Spawn;

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Spawn {
    fn execute(&self, future: F) {
        tokio::spawn(future);
    }
}

/// One more error above hyper's, as a pooled client has it.
#[derive(Debug, thiserror::Error)]
#[error("a pooled connection failed")]
struct Pooled(#[source] hyper::Error);

/// One HTTP/2 connection as a transport. `delay` is added before the caller receives a failure.
#[derive(Clone)]
struct Http2 {
    sender: SendRequest<Body>,
    delay: Duration,
}

impl Service<http::Request<Body>> for Http2 {
    type Response = http::Response<Incoming>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.sender.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let (response, delay) = (self.sender.send_request(request), self.delay);
        Box::pin(async move {
            let response = response.await;
            if !delay.is_zero() {
                tokio::time::advance(delay).await;
            }
            response.map_err(|error| Pooled(error).into())
        })
    }
}

/// A client of a peer that handles each request with `serve`.
async fn client<F, R>(serve: F) -> Client<Http2>
where
    F: Fn(h2::server::SendResponse<Bytes>) -> R + Send + 'static,
    R: Future<Output = ()> + Send,
{
    delayed_client(Duration::ZERO, serve).await
}

async fn delayed_client<F, R>(delay: Duration, serve: F) -> Client<Http2>
where
    F: Fn(h2::server::SendResponse<Bytes>) -> R + Send + 'static,
    R: Future<Output = ()> + Send,
{
    let (near, far) = tokio::io::duplex(16 * 1024);
    tokio::spawn(async move {
        let mut connection = h2::server::handshake(far).await.expect("a client of h2");
        while let Some(Ok((_request, respond))) = connection.accept().await {
            serve(respond).await;
        }
    });
    Client::new(Http2 {
        sender: connect(near).await,
        delay,
    })
}

async fn connect(io: DuplexStream) -> SendRequest<Body> {
    let (sender, connection) = hyper::client::conn::http2::handshake(Spawn, TokioIo::new(io))
        .await
        .expect("the peer speaks HTTP/2");
    tokio::spawn(async move {
        // The calls of the test report the error of the connection.
        let _ = connection.await;
    });
    sender
}

async fn call(client: &Client<Http2>, request: impl Into<Request<Text>>) -> Error {
    let result = client.unary::<Text, Text>(&ECHO, request.into()).await;
    result.expect_err("the peer resets every stream")
}

fn reason_of(error: &Error) -> Option<Reason> {
    error.cause::<h2::Error>().and_then(h2::Error::reason)
}

const CODES: [(Reason, Code); 14] = [
    (Reason::REFUSED_STREAM, Code::Unavailable),
    (Reason::CANCEL, Code::Canceled),
    (Reason::ENHANCE_YOUR_CALM, Code::ResourceExhausted),
    (Reason::INADEQUATE_SECURITY, Code::PermissionDenied),
    (Reason::NO_ERROR, Code::Internal),
    (Reason::PROTOCOL_ERROR, Code::Internal),
    (Reason::INTERNAL_ERROR, Code::Internal),
    (Reason::FLOW_CONTROL_ERROR, Code::Internal),
    (Reason::SETTINGS_TIMEOUT, Code::Internal),
    (Reason::FRAME_SIZE_ERROR, Code::Internal),
    (Reason::COMPRESSION_ERROR, Code::Internal),
    (Reason::CONNECT_ERROR, Code::Internal),
    (Reason::STREAM_CLOSED, Code::Internal),
    (Reason::HTTP_1_1_REQUIRED, Code::Internal),
];

#[tokio::test]
async fn a_reset_before_the_response_has_the_code_of_its_reason() {
    for (reason, code) in CODES {
        let client = client(move |mut respond| async move { respond.send_reset(reason) }).await;
        let error = call(&client, Text::from("hello")).await;
        assert_eq!(error.code(), code, "{reason:?}: {error}");
        assert_eq!(reason_of(&error), Some(reason), "{error:?}");
    }
}

#[tokio::test]
async fn a_reset_within_the_response_has_the_code_of_its_reason() {
    for (reason, code) in CODES {
        let client = client(move |respond| partial_response(respond, reason)).await;
        let error = call(&client, Text::from("hello")).await;
        assert_eq!(error.code(), code, "{reason:?}: {error}");
        // hyper does not expose this one reason.
        let reported = (reason != Reason::NO_ERROR).then_some(reason);
        assert_eq!(reason_of(&error), reported, "{error:?}");
    }
}

/// Begins a response of 14 bytes, of which the first 7 are a whole message, and resets the stream.
async fn partial_response(mut respond: h2::server::SendResponse<Bytes>, reason: Reason) {
    let head = http::Response::builder()
        .header("content-type", "application/proto")
        .header("content-length", "14")
        .body(())
        .expect("a valid head");
    let mut body = respond.send_response(head, false).expect("still open");
    let half = Bytes::from_static(b"\n\x05hello");
    body.send_data(half, false).expect("still open");
    tokio::spawn(async move {
        // A reset discards queued data, so the data must be sent first.
        tokio::task::yield_now().await;
        body.send_reset(reason);
    });
}

#[tokio::test(start_paused = true)]
async fn a_cancel_after_the_deadline_is_the_deadline() {
    let late = Duration::from_secs(3);
    for (timeout, code) in [(2, Code::DeadlineExceeded), (4, Code::Canceled)] {
        let reset = |mut respond: h2::server::SendResponse<Bytes>| async move {
            respond.send_reset(Reason::CANCEL);
        };
        let client = delayed_client(late, reset).await;
        let request = Request::new(Text::default()).timeout(Duration::from_secs(timeout));
        let error = call(&client, request).await;
        assert_eq!(error.code(), code, "{error}");
        assert_eq!(reason_of(&error), Some(Reason::CANCEL), "{error:?}");
    }
}

#[tokio::test]
async fn a_connection_closed_by_goaway_is_unavailable() {
    let (near, far) = tokio::io::duplex(16 * 1024);
    tokio::spawn(async move {
        let mut connection = h2::server::handshake(far).await.expect("a client of h2");
        let _request = connection.accept().await;
        connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        // Drives the connection until its end was sent.
        while connection.accept().await.is_some() {}
    });
    let transport = Http2 {
        sender: connect(near).await,
        delay: Duration::ZERO,
    };
    let error = call(&Client::new(transport), Text::from("hello")).await;
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert!(error.cause::<hyper::Error>().is_some(), "{error:?}");
}

/// Sends half a message, which is a whole one as well, and resets the stream with this reason.
async fn cancel(sender: &mut h2::client::SendRequest<Bytes>, reason: Reason) {
    let head = request_head().header("content-length", "14");
    let head = head.body(()).expect("a valid head");
    let (_response, mut body) = sender.send_request(head, false).expect("still open");
    let half = Bytes::from_static(b"\n\x05hello");
    body.send_data(half, false).expect("still open");
    tokio::task::yield_now().await;
    body.send_reset(reason);
}

fn request_head() -> http::request::Builder {
    http::Request::post("http://localhost/test.Echo/Echo")
        .header("content-type", "application/proto")
}

#[tokio::test]
async fn a_partial_request_reaches_no_handler() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let count = move |request: Request<Text>| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Ok::<_, Error>(Response::new(request.into_message())) }
    };
    let router = Router::new().add_route(Route::unary(&ECHO, count));
    let (near, far) = tokio::io::duplex(16 * 1024);
    tokio::spawn(async move {
        let service = hyper::service::service_fn(move |request| router.clone().call(request));
        let server = hyper::server::conn::http2::Builder::new(Spawn);
        let _ = server.serve_connection(TokioIo::new(far), service).await;
    });
    let (mut sender, connection) = h2::client::handshake(near).await.expect("a server of h2");
    tokio::spawn(connection);
    for reason in [Reason::CANCEL, Reason::NO_ERROR, Reason::INTERNAL_ERROR] {
        cancel(&mut sender, reason).await;
    }
    let whole = request_head().body(()).expect("a valid head");
    let (response, mut body) = sender.send_request(whole, false).expect("still open");
    let message = Bytes::from_static(b"\n\x05hello");
    body.send_data(message, true).expect("still open");
    assert_eq!(response.await.expect("a response").status(), 200);
    assert_eq!(calls.load(Ordering::SeqCst), 1, "only the whole one counts");
}
