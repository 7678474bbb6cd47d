//! Serving HTTP/1.1 on byte streams.

mod adapter;
mod first;
mod idle;
mod rewound;
mod stop;

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_core::Stream;
use hyper::rt::{Read, Write};
use hyper::server::conn::http1::Builder;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower_service::Service;

use self::adapter::ToHyper;
use self::first::{Next, first};
use self::idle::{Activity, BetweenRequests, Idle};
use self::rewound::Rewound;
use self::stop::Stop;
use crate::{Body, BoxError};

/// Bounds and habits of HTTP/1.1 servers.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    header_read_timeout: Duration,
    max_head_size: usize,
    max_connections: usize,
    drain_timeout: Duration,
    date_header: bool,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            header_read_timeout: Duration::from_secs(30),
            max_head_size: 64 * 1024,
            max_connections: 1024,
            drain_timeout: Duration::from_secs(10),
            date_header: false,
        }
    }
}

impl ServeConfig {
    /// Closes a connection that has not sent the whole head of a request within this time, counted
    /// from its start or from the end of the previous response; so it is also how long a
    /// connection may be idle, and how long a peer may take to read the end of a response.
    /// Default: 30 s.
    #[must_use]
    pub fn header_read_timeout(mut self, timeout: Duration) -> Self {
        self.header_read_timeout = timeout;
        self
    }

    /// The most bytes that the head of a request may have; it may also have at most 100 fields.
    /// Default: 64 KiB.
    #[must_use]
    pub fn max_head_size(mut self, bytes: usize) -> Self {
        self.max_head_size = bytes;
        self
    }

    /// How many connections [`serve`] holds open at most; more wait to be accepted. Default: 1024.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections.max(1);
        self
    }

    /// How long [`serve`] waits at its end for requests that are being answered. Default: 10 s.
    #[must_use]
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }

    /// Writes a `date` into every response. Default: `false`; on a local socket nobody reads it.
    #[must_use]
    pub fn date_header(mut self, write: bool) -> Self {
        self.date_header = write;
        self
    }

    fn builder(&self) -> Builder {
        let mut builder = Builder::new();
        builder
            // An idle clock of our own stands in for hyper's.
            .header_read_timeout(None)
            .max_header_size(self.max_head_size)
            .auto_date_header(self.date_header);
        builder
    }
}

/// Why a connection ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The peer broke the protocol or went away in the middle, or the I/O failed.
    #[error("HTTP/1.1 connection: {0}")]
    Http(#[from] hyper::Error),
    /// The I/O failed.
    #[error("HTTP/1.1 connection: {0}")]
    Io(#[from] io::Error),
    /// The peer went away while its request was answered.
    #[error("the peer went away before it was answered")]
    Gone,
    /// The body of a response failed.
    #[error("the body of the response: {0}")]
    Body(#[source] BoxError),
    /// No whole head of a request came in time.
    #[error("no request came within {limit:?}")]
    Idle {
        /// How long was waited.
        limit: Duration,
    },
}

/// Serves one connection until the peer closes it, or until `shutdown` resolves and the request
/// that is being answered then is done.
///
/// # Errors
///
/// The peer sent what is not HTTP/1.1, was too slow, went away in the middle, or the I/O failed.
///
/// # Cancel safety
///
/// Dropping the future drops the connection and every handler that runs on it.
pub async fn serve_connection<I, S, B>(
    io: I,
    service: S,
    config: &ServeConfig,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError>
where
    I: Read + Write + Unpin,
    S: Service<http::Request<Body>, Response = http::Response<B>, Error = Infallible> + Clone,
    B: http_body::Body + 'static,
    B::Error: Into<BoxError>,
{
    let (mut io, mut service) = (io, service);
    let mut idle = Idle::new(config.header_read_timeout);
    let mut shutdown = pin!(shutdown);
    let mut stop = Stop::new(shutdown.as_mut());
    let mut read = None;
    // Only hyper writes dates.
    if !config.date_header {
        let (size, service) = (config.max_head_size, &mut service);
        match first(&mut io, service, size, &mut idle, &mut stop).await? {
            Next::End => return Ok(()),
            Next::Hyper(reader) => read = Some(reader),
        }
    }
    let io = Rewound::new(io, read);
    // Boxed, so that connections which never come here are small.
    Box::pin(by_hyper(io, service, config, idle, stop)).await
}

/// Serves a connection to its end.
async fn by_hyper<I, S, B, F>(
    io: I,
    service: S,
    config: &ServeConfig,
    idle: Idle,
    mut stop: Stop<'_, F>,
) -> Result<(), ServeError>
where
    I: Read + Write + Unpin,
    S: Service<http::Request<Body>, Response = http::Response<B>, Error = Infallible> + Clone,
    B: http_body::Body + 'static,
    B::Error: Into<BoxError>,
    F: Future<Output = ()>,
{
    let activity = Arc::<Activity>::default();
    let mut idle = BetweenRequests::new(idle, Arc::clone(&activity));
    let service = ToHyper { service, activity };
    let mut connection = pin!(config.builder().serve_connection(io, service));
    let mut told = false;
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(ended.map_err(ServeError::Http));
            }
            // After the first poll, so that a request which has begun is known to hyper.
            if told || !stop.poll(cx) {
                return idle.poll(cx).map(Err);
            }
            told = true;
            connection.as_mut().graceful_shutdown();
        }
    })
    .await
}

/// How a call of [`serve`] went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Served {
    /// Connections that were accepted.
    pub accepted: u64,
    /// Connections that ended with an error.
    pub failed: u64,
    /// Connections that were still busy when the drain time was over, and were dropped.
    pub aborted: u64,
}

/// Serves every connection of `connections`, each in a task that this future owns, until
/// `shutdown` resolves or `connections` ends; then lets running requests finish for at most
/// [`ServeConfig::drain_timeout`].
///
/// `make_service` is asked for the service of each connection, and can look at the I/O object to
/// know who is calling.
///
/// An error from `connections` is logged and accepting goes on a moment later, since such errors
/// pass (too many open files, a connection that was closed before it was accepted).
///
/// # Cancel safety
///
/// Dropping the future aborts all connections.
pub async fn serve<L, I, M, S, B>(
    connections: L,
    mut make_service: M,
    config: ServeConfig,
    shutdown: impl Future<Output = ()>,
) -> Served
where
    L: Stream<Item = io::Result<I>>,
    I: Read + Write + Unpin + Send + 'static,
    M: FnMut(&I) -> S,
    S: Service<http::Request<Body>, Response = http::Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let mut connections = pin!(connections);
    let mut shutdown = pin!(shutdown);
    let (stop, stopped) = watch::channel(false);
    let mut tasks = Tasks::default();
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(ended) = tasks.set.join_next() => tasks.ended(ended),
            next = next(connections.as_mut()), if tasks.set.len() < config.max_connections => {
                match next {
                    Some(Ok(io)) => {
                        let service = make_service(&io);
                        tasks.spawn(connection(io, service, config.clone(), stopped.clone()));
                    }
                    Some(Err(error)) => {
                        tracing::warn!(%error, "accepting a connection failed");
                        sleep(ACCEPT_PAUSE).await;
                    }
                    None => break,
                }
            }
        }
    }
    stop.send_replace(true);
    tasks.drain(config.drain_timeout).await
}

/// Long enough that a lack of descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

async fn next<L: Stream>(mut connections: Pin<&mut L>) -> Option<L::Item> {
    poll_fn(|cx| connections.as_mut().poll_next(cx)).await
}

async fn connection<I, S, B>(
    io: I,
    service: S,
    config: ServeConfig,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), ServeError>
where
    I: Read + Write + Unpin,
    S: Service<http::Request<Body>, Response = http::Response<B>, Error = Infallible> + Clone,
    B: http_body::Body + 'static,
    B::Error: Into<BoxError>,
{
    let shutdown = async {
        // The sender outlives all connections, or is dropped together with them.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    serve_connection(io, service, &config, shutdown).await
}

/// The connections of one call of [`serve`].
#[derive(Default)]
struct Tasks {
    set: JoinSet<Result<(), ServeError>>,
    served: Served,
}

impl Tasks {
    fn spawn(&mut self, task: impl Future<Output = Result<(), ServeError>> + Send + 'static) {
        self.served.accepted += 1;
        // tokio moves a task several times before it lies still; a box is moved cheaply.
        self.set.spawn(Box::pin(task));
    }

    fn ended(&mut self, ended: Result<Result<(), ServeError>, tokio::task::JoinError>) {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                self.served.failed += 1;
                tracing::debug!(%error, "a connection failed");
            }
            Err(error) if error.is_cancelled() => self.served.aborted += 1,
            Err(_panic) => {
                self.served.failed += 1;
                tracing::error!("the task of a connection panicked");
            }
        }
    }

    async fn drain(mut self, limit: Duration) -> Served {
        let drained = timeout(limit, async {
            while let Some(ended) = self.set.join_next().await {
                self.ended(ended);
            }
        });
        if drained.await.is_err() {
            self.set.abort_all();
            while let Some(ended) = self.set.join_next().await {
                self.ended(ended);
            }
        }
        self.served
    }
}
