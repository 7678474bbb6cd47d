//! [`serve`]: every byte stream that comes.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::time::Duration;

use futures_core::Stream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower_service::Service;

use super::{ServeConfig, ServeError, serve_connection};
use crate::{BoxError, RequestBody};

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
/// A connection beyond [`ServeConfig::max_connections`] waits for its turn, and so that there is
/// one, those before it are told to end: the idle ones at once, the others behind what they are
/// answering. Nobody can keep the others out by doing nothing.
///
/// An error from `connections` is logged and accepting goes on a moment later, since such errors
/// pass (too many open files, a connection that was closed before it was accepted). One of the kind
/// [`NotConnected`](io::ErrorKind::NotConnected) does not: whatever the connections came from is
/// gone, and serving ends as if they had ended. Its owner knows more about that, so it is only
/// logged for debugging.
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
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    M: FnMut(&I) -> S,
    S: Service<http::Request<RequestBody>, Response = http::Response<B>, Error = Infallible>
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
    let mut tasks = Tasks::default();
    let mut waiting = None;
    loop {
        if tasks.set.len() < config.max_connections
            && let Some(io) = waiting.take()
        {
            let service = make_service(&io);
            tasks.spawn(connection(io, service, config.clone(), tasks.stopped()));
        }
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(ended) = tasks.set.join_next() => tasks.ended(ended),
            next = next(connections.as_mut()), if waiting.is_none() => match next {
                Some(Ok(io)) => waiting = Some(io),
                Some(Err(error)) if error.kind() == io::ErrorKind::NotConnected => {
                    tracing::debug!(%error, "no more connections come");
                    break;
                }
                Some(Err(error)) => {
                    tracing::warn!(%error, "accepting a connection failed");
                    sleep(ACCEPT_PAUSE).await;
                }
                None => break,
            }
        }
        if waiting.is_some() && tasks.set.len() >= config.max_connections {
            tasks.make_room();
        }
    }
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
    I: AsyncRead + AsyncWrite + Unpin,
    S: Service<http::Request<RequestBody>, Response = http::Response<B>, Error = Infallible>
        + Clone,
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
    /// Tells the connections that were made since it last told that they are to end.
    stop: watch::Sender<bool>,
    served: Served,
}

impl Tasks {
    fn spawn(&mut self, task: impl Future<Output = Result<(), ServeError>> + Send + 'static) {
        self.served.accepted += 1;
        // tokio moves a task several times before it lies still; a box is moved cheaply.
        self.set.spawn(Box::pin(task));
    }

    fn stopped(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// Tells all connections to end, and later ones nothing.
    fn make_room(&mut self) {
        std::mem::take(&mut self.stop).send_replace(true);
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
        self.make_room();
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
