//! Limits of time around futures that hold a whole call.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

/// Drives `future` for at most `limit`. A future that is ready at once, as the body of most
/// requests is, costs no timer. It is borrowed, here and below, so that it is not moved, because
/// futures that hold a whole call are large.
pub(super) async fn within<F: Future>(
    limit: Duration,
    mut future: Pin<&mut F>,
) -> Result<F::Output, Expired> {
    match poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => timeout(limit, future).await.map_err(|_| Expired),
    }
}

/// The deadline passed.
pub(super) struct Expired;

/// Drives `future` until the deadline, if there is one. A deadline that has passed takes precedence
/// over a future that would be ready at once.
pub(super) async fn until<F: Future>(
    deadline: Option<Instant>,
    future: Pin<&mut F>,
) -> Result<F::Output, Expired> {
    match deadline {
        None => Ok(future.await),
        Some(at) if at <= Instant::now() => Err(Expired),
        Some(at) => timeout_at(at, future).await.map_err(|_| Expired),
    }
}
