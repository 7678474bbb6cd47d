//! A server whose connections, handlers and responses are counted.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use keyway_http::{Limits, OnUpgrade, RequestBody, Served, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tower::Service;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// More connections than a server has places.
pub(crate) const MANY: usize = 1100;

/// The body of `/large`.
static LARGE: [u8; 1024 * 1024] = [b'x'; 1024 * 1024];

/// Connections as they are made, for the server.
struct Incoming(mpsc::Receiver<DuplexStream>);

impl futures_core::Stream for Incoming {
    type Item = io::Result<DuplexStream>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|io| io.map(Ok))
    }
}

/// One of these is alive for each connection, handler and response.
#[derive(Clone, Default)]
pub(crate) struct Counts {
    connections: Arc<()>,
    handlers: Arc<()>,
    responses: Arc<()>,
}

impl Counts {
    /// Connections, handlers and responses that are alive.
    pub(crate) fn alive(&self) -> [usize; 3] {
        let counters = [&self.connections, &self.handlers, &self.responses];
        counters.map(|counter| Arc::strong_count(counter) - 1)
    }
}

/// The service of one connection.
struct Paths {
    counts: Arc<Counts>,
    _connection: Arc<()>,
}

impl Clone for Paths {
    fn clone(&self) -> Self {
        Self {
            counts: Arc::clone(&self.counts),
            _connection: Arc::clone(&self.counts.connections),
        }
    }
}

impl Service<Request<RequestBody>> for Paths {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let handler = Arc::clone(&self.counts.handlers);
        let claim = Arc::clone(&self.counts.responses);
        Box::pin(async move {
            let _handler = handler;
            let path = request.uri().path().to_owned();
            // This service ignores a body that ends early.
            let _ = request.into_body().collect().await;
            let response = match path.as_str() {
                "/hang" => pending().await,
                "/upgrade" => return Ok(upgrade()),
                "/large" => Bytes::from_static(&LARGE),
                _ => Bytes::from_static(b"ok"),
            };
            Ok(Response::new(Full::new(Bytes::from_owner(Claim {
                bytes: response,
                _claim: claim,
            }))))
        })
    }
}

fn upgrade() -> Response<Full<Bytes>> {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    // The other protocol ends with its peer.
    let upgrade = OnUpgrade::new(|mut io| async move {
        let _ = io.read_u8().await;
    });
    response.extensions_mut().insert(upgrade);
    response
}

/// A response that counts against a budget of memory.
struct Claim {
    bytes: Bytes,
    _claim: Arc<()>,
}

impl AsRef<[u8]> for Claim {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A server in a task of its own.
pub(crate) struct Server {
    pub(crate) counts: Arc<Counts>,
    connect: mpsc::Sender<DuplexStream>,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<Served>,
}

impl Server {
    pub(crate) fn start(limits: Limits) -> Self {
        let counts = Arc::<Counts>::default();
        let counted = Arc::clone(&counts);
        let make_service = move |_: &DuplexStream, _| Paths {
            counts: Arc::clone(&counted),
            _connection: Arc::clone(&counted.connections),
        };
        let (connect, incoming) = mpsc::channel(1);
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async { drop(stopped.await) };
        let served = serve(Incoming(incoming), make_service, limits, stopped);
        Self {
            counts,
            connect,
            stop: Some(stop),
            served: tokio::spawn(served),
        }
    }

    /// Connects, and sends the beginning of a request.
    pub(crate) async fn open(&self, beginning: &str) -> DuplexStream {
        let (mut near, far) = tokio::io::duplex(16 * 1024);
        self.connect.send(far).await.expect("the server runs");
        near.write_all(beginning.as_bytes()).await.expect("it fits");
        near
    }

    /// Connects with HTTP/2. Each response may have `window` bytes in flight.
    pub(crate) async fn open_http2(&self, window: u32) -> Http2 {
        let (near, far) = tokio::io::duplex(16 * 1024);
        self.connect.send(far).await.expect("the server runs");
        let mut builder = h2::client::Builder::new();
        let handshake = builder.initial_window_size(window).handshake(near);
        let (client, connection) = handshake.await.expect("a handshake");
        Http2 {
            client,
            connection: tokio::spawn(async { drop(connection.await) }),
        }
    }

    /// Checks that a new client is served within seconds.
    pub(crate) async fn check_new_client(&self) {
        let served = timeout(5 * SECOND, async {
            let mut io = self
                .open(&request("GET", "/", "connection: close\r\n"))
                .await;
            let mut response = String::new();
            io.read_to_string(&mut response).await.expect("a response");
            assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
        });
        served.await.expect("a new client is served within seconds");
    }

    pub(crate) async fn stop(mut self) -> Served {
        drop(self.stop.take());
        self.served.await.expect("no panic")
    }
}

/// A client with HTTP/2. Dropping it drops the connection.
pub(crate) struct Http2 {
    pub(crate) client: h2::client::SendRequest<Bytes>,
    connection: JoinHandle<()>,
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

pub(crate) fn request(method: &str, path: &str, fields: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: x\r\n{fields}\r\n")
}

pub(crate) fn http2_request(path: &str) -> Request<()> {
    Request::post(format!("http://localhost{path}"))
        .body(())
        .expect("a valid request")
}

/// The tasks of the current runtime, without that of the test itself.
pub(crate) fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}
