//! [`serve`]: every byte stream of a listener.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures_core::Stream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep};

use super::connection::Connection;
use super::connections::Connections;
use super::{HttpService, Limits};

/// The connections of one call of [`serve`], counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Served {
    /// Connections that were accepted.
    pub accepted: u64,
    /// Connections that ended with an error.
    pub failed: u64,
    /// Connections that waited for their peer and gave their place to another.
    pub evicted: u64,
    /// Connections that were still busy at the end of
    /// [`Limits::drain_timeout`](crate::Limits::drain_timeout), and were dropped.
    pub aborted: u64,
}

/// The reason why a connection was admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It has one of the regular places.
    Regular,
    /// All regular places are taken by connections in a handler. It is one of
    /// [`Limits::reserved_connections`](crate::Limits::reserved_connections) and makes one request.
    Reserved,
}

/// Serves every byte stream of `listener`, each in a task that this future owns, until `shutdown`
/// resolves or `listener` ends; then lets requests in progress finish for at most
/// [`Limits::drain_timeout`](crate::Limits::drain_timeout). A connection that has made no request is waited for 100 ms, because
/// its first one may be on its way; those between two requests end at once.
///
/// `make_service` makes the service of a connection, for which it may read the byte stream's facts about its peer. Several
/// listeners that share the limits are one stream.
///
/// At [`Limits::max_connections`](crate::Limits::max_connections) the next connection takes the
/// place of one that waits for its peer: a silent one first, then one within HTTP/2's preface, an
/// idle one, one within a head, one within a body, one whose peer does not read; among equals the
/// one that has waited longest. Those that wait for less than a second come last. If all connections are in a handler, the next is admitted as
/// [`Admission::Reserved`], and beyond that it waits.
///
/// An error of the listener is logged and accepting continues a moment later, because such errors
/// are temporary (no free descriptor, a connection that was closed before it was accepted). Unless
/// it is [`ConnectionAborted`](io::ErrorKind::ConnectionAborted), a connection that waits for its
/// peer ends, in the same order, so that its descriptor is free. The kind [`NotConnected`](io::ErrorKind::NotConnected) is not: it ends the serving as the end of the
/// listener does.
///
/// # Cancel safety
///
/// Dropping the future aborts all connections.
pub async fn serve<L, I, M, S>(
    listener: L,
    mut make_service: M,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) -> Served
where
    L: Stream<Item = io::Result<I>>,
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    M: FnMut(&I, Admission) -> S,
    S: HttpService,
{
    let limits = Arc::new(limits);
    let mut connections = Connections::new(&limits);
    {
        // Dropped at the end of the block, so that no connection is accepted while others drain.
        let (mut listener, mut shutdown) = (pin!(listener), pin!(shutdown));
        let mut errors = AcceptErrors::default();
        let mut waiting: Option<I> = None;
        loop {
            if let Some(io) = waiting.take() {
                match connections.find_place() {
                    Some(admission) => {
                        let service = make_service(&io, admission);
                        let limits = Arc::clone(&limits);
                        connections.spawn(admission, |shared, place, mut stop| async move {
                            let place = Some(place);
                            let connection = Connection {
                                io,
                                service,
                                admission,
                                shared,
                                place,
                            };
                            // The sender is dropped together with the task.
                            let stopped = async { drop(stop.wait_for(|stop| *stop).await) };
                            connection.serve(&limits, stopped).await
                        });
                    }
                    None => waiting = Some(io),
                }
            }
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                () = connections.changed(), if !connections.is_empty() => {}
                next = next(listener.as_mut()), if waiting.is_none() => match next {
                    Some(Ok(io)) => waiting = Some(io),
                    Some(Err(error)) if error.kind() == io::ErrorKind::NotConnected => {
                        tracing::debug!(%error, "listener ended");
                        break;
                    }
                    Some(Err(error)) => {
                        errors.log(&error);
                        if error.kind() != io::ErrorKind::ConnectionAborted {
                            connections.evict();
                        }
                        sleep(ACCEPT_PAUSE).await;
                    }
                    None => break,
                }
            }
        }
    }
    connections.drain(limits.drain_timeout).await
}

/// Long enough that a lack of descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

async fn next<L: Stream>(mut listener: Pin<&mut L>) -> Option<L::Item> {
    poll_fn(|cx| listener.as_mut().poll_next(cx)).await
}

/// Logs the errors of a listener: the first, then one line in [`PERIOD`](Self::PERIOD).
#[derive(Default)]
struct AcceptErrors {
    logged: Option<Instant>,
    suppressed: u64,
}

impl AcceptErrors {
    const PERIOD: Duration = Duration::from_secs(10);

    fn log(&mut self, error: &io::Error) {
        let now = Instant::now();
        if self
            .logged
            .is_some_and(|logged| now < logged + Self::PERIOD)
        {
            self.suppressed += 1;
            return;
        }
        tracing::warn!(%error, suppressed = self.suppressed, "accepting a connection failed");
        *self = Self {
            logged: Some(now),
            suppressed: 0,
        };
    }
}
