//! Connections to the service of `keyway_test_support::echo`, and servers that follow a script.
#![allow(dead_code, reason = "each test file uses its part of these helpers")]

use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use keyway_http::{HttpService, Limits, RequestBody, ServeError, serve_connection};
use keyway_test_support::echo::Memory;
use keyway_test_support::echo::rpc::Body;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tower_service::Service;

/// The outcome of serving a connection.
pub(crate) type Ended = JoinHandle<Result<(), ServeError>>;

/// A connection to this service, and how it ended.
pub(crate) fn connection<S>(
    config: Limits,
    service: S,
    stop: oneshot::Receiver<()>,
) -> (DuplexStream, Ended)
where
    S: HttpService,
{
    let (near, far) = tokio::io::duplex(16 * 1024);
    let served = tokio::spawn(async move {
        let stop = async {
            // A dropped sender does not stop the server.
            if stop.await.is_err() {
                pending().await
            }
        };
        serve_connection(far, service, &config, stop).await
    });
    (near, served)
}

/// Sends raw bytes on a new connection and returns all response bytes until the server
/// closes it, or is silent for a minute.
pub(crate) async fn raw(memory: &Memory, parts: &[&[u8]]) -> String {
    let mut io = memory.open();
    for part in parts {
        // A server may stop reading early; only its response matters then.
        let _ = io.write_all(part).await;
    }
    read_raw(&mut io).await
}

pub(crate) async fn read_raw(io: &mut DuplexStream) -> String {
    let mut response = Vec::new();
    let reading = io.read_to_end(&mut response);
    let _ = tokio::time::timeout(Duration::from_secs(60), reading).await;
    String::from_utf8_lossy(&response).into_owned()
}

/// The head of a POST to the echo with these additional lines.
pub(crate) fn head(lines: &str) -> String {
    format!(
        "POST /test.Echo/Echo HTTP/1.1\r\nhost: x\r\ncontent-type: application/proto\r\n{lines}\r\n"
    )
}

/// One step of a scripted server.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Reads the head and the body of one request.
    Request,
    /// Checks that the client's write side is open: neither bytes nor an end arrive.
    StillOpen,
    Send(Vec<u8>),
    /// Sends in pieces of this many bytes, each of which arrives alone.
    SendInPieces(Vec<u8>, usize),
    /// Checks that exactly these bytes arrive next.
    Expect(Vec<u8>),
    /// Waits until the client closes its write side.
    Closed,
    Close,
    Hang,
}

/// Connections to a server that follows a script.
#[derive(Clone)]
pub(crate) struct Scripted {
    script: Vec<Step>,
    capacity: usize,
    servers: Arc<Mutex<JoinSet<()>>>,
}

impl Scripted {
    pub(crate) fn new(script: Vec<Step>) -> Self {
        Self {
            script,
            capacity: 16 * 1024,
            servers: Arc::default(),
        }
    }

    /// Limits the bytes in flight.
    pub(crate) fn with_capacity(mut self, bytes: usize) -> Self {
        self.capacity = bytes;
        self
    }

    /// Waits until the script is at its end; panics if a step failed.
    pub(crate) async fn finished(&self) {
        let mut servers = std::mem::take(&mut *self.servers.lock().expect("not poisoned"));
        let done = servers.join_next().await.expect("one connection was made");
        done.expect("every step of the script succeeded");
    }
}

impl Service<Uri> for Scripted {
    type Response = DuplexStream;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (near, far) = tokio::io::duplex(self.capacity);
        let server = follow(self.script.clone(), far);
        self.servers.lock().expect("not poisoned").spawn(server);
        std::future::ready(Ok(near))
    }
}

async fn follow(script: Vec<Step>, mut io: DuplexStream) {
    for step in script {
        match step {
            Step::Request => read_request(&mut io).await,
            Step::StillOpen => {
                let read = tokio::time::timeout(Duration::from_millis(20), io.read_u8()).await;
                assert!(read.is_err(), "the client sent more, or closed: {read:?}");
            }
            // A client may close before all is sent.
            Step::Send(bytes) => drop(io.write_all(&bytes).await),
            Step::SendInPieces(bytes, size) => {
                for piece in bytes.chunks(size) {
                    io.write_all(piece)
                        .await
                        .expect("the client reads to the end");
                    tokio::task::yield_now().await;
                }
            }
            Step::Expect(expected) => {
                let mut read = vec![0; expected.len()];
                io.read_exact(&mut read)
                    .await
                    .expect("the client sends as much");
                assert_eq!(
                    String::from_utf8_lossy(&read),
                    String::from_utf8_lossy(&expected)
                );
            }
            Step::Closed => {
                let mut rest = Vec::new();
                let closed =
                    tokio::time::timeout(Duration::from_secs(5), io.read_to_end(&mut rest));
                closed
                    .await
                    .expect("the client closes")
                    .expect("an orderly end");
                assert!(rest.is_empty(), "{rest:?}");
            }
            Step::Close => return,
            Step::Hang => pending().await,
        }
    }
}

async fn read_request(io: &mut DuplexStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(io.read_u8().await.expect("a whole head"));
    }
    let head = String::from_utf8(head).expect("a head is ASCII");
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |text| text.parse().expect("a number"));
    let mut body = vec![0; length];
    io.read_exact(&mut body).await.expect("a whole body");
}

/// A tower service of one function.
pub(crate) fn tower_fn<F>(function: F) -> Function<F>
where
    F: Fn(http::Request<RequestBody>) -> http::Response<Body> + Clone,
{
    Function(function)
}

#[derive(Clone)]
pub(crate) struct Function<F>(F);

impl<F> Service<http::Request<RequestBody>> for Function<F>
where
    F: Fn(http::Request<RequestBody>) -> http::Response<Body>,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<RequestBody>) -> Self::Future {
        std::future::ready(Ok((self.0)(request)))
    }
}
