//! [`serve_connection`]: one byte stream.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, ready};

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;

use super::activity::{Activity, Wait};
use super::adapter::ToHyper;
use super::clock::Clock;
use super::first::{Next, first};
use super::stop::Stop;
use super::wire::Wire;
use super::{ServeConfig, ServeError};
use crate::{BoxError, RequestBody};

/// Serves one connection until the peer closes it or leaves it idle, or until `shutdown` resolves
/// and the request that is being answered then is done.
///
/// # Errors
///
/// The peer sent what is not HTTP/1.1, was too slow, went away in the middle, or the I/O failed;
/// or the body of a response failed.
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
    I: AsyncRead + AsyncWrite + Unpin,
    S: Service<http::Request<RequestBody>, Response = http::Response<B>, Error = Infallible>
        + Clone,
    B: http_body::Body + 'static,
    B::Error: Into<BoxError>,
{
    let (mut io, mut service) = (io, service);
    let mut clock = Clock::new(config);
    let mut shutdown = pin!(shutdown);
    let mut stop = Stop::new(shutdown.as_mut());
    let mut read = None;
    // Only hyper writes dates.
    if !config.date_header {
        let (size, service) = (config.max_head_size, &mut service);
        match first(&mut io, service, size, &mut clock, &mut stop).await? {
            Next::End => return Ok(()),
            Next::Hyper(reader) => read = Some(reader),
        }
    }
    let activity = Arc::<Activity>::default();
    let io = Wire::new(io, read, Arc::clone(&activity));
    let service = ToHyper { service, activity };
    // Boxed, so that connections which never come here are small.
    Box::pin(by_hyper(io, service, config, clock, stop)).await
}

/// Serves a connection to its end.
async fn by_hyper<I, S, B, F>(
    io: Wire<I>,
    service: ToHyper<S>,
    config: &ServeConfig,
    mut clock: Clock,
    mut stop: Stop<'_, F>,
) -> Result<(), ServeError>
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: Service<http::Request<RequestBody>, Response = http::Response<B>, Error = Infallible>
        + Clone,
    B: http_body::Body + 'static,
    B::Error: Into<BoxError>,
    F: Future<Output = ()>,
{
    let activity = Arc::clone(&service.activity);
    let mut connection = pin!(config.builder().serve_connection(TokioIo::new(io), service));
    let mut told = false;
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(ended.map_err(ServeError::Http));
            }
            // After the first poll, so that a request which has begun is known to hyper.
            if !told && !stop.poll(cx) {
                ready!(clock.poll_activity(&activity, cx))?;
            } else if told {
                // Hyper would wait for a first request even then.
                return match activity.wait() {
                    Some(Wait::Request) => Poll::Ready(Ok(())),
                    _ => clock.poll_activity(&activity, cx),
                };
            }
            told = true;
            connection.as_mut().graceful_shutdown();
        }
    })
    .await
}
