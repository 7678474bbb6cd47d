//! What stands around a handler: its deadline, and a net below its panics.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

pin_project_lite::pin_project! {
    /// A future whose panic is its result.
    pub(super) struct CatchPanic<F> {
        #[pin]
        future: F,
    }
}

impl<F> CatchPanic<F> {
    pub(super) fn new(future: F) -> Self {
        Self { future }
    }
}

impl<F: Future> Future for CatchPanic<F> {
    type Output = Result<F::Output, Box<dyn Any + Send>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let future = self.project().future;
        // After a panic the future is only dropped, never polled again, so nobody sees the state
        // that it left behind.
        match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}

/// Drives `future` for at most this long. A future that is ready at once, as the body of most
/// requests is, costs no timer. It is borrowed, here and below, so that it is not moved: futures
/// that hold a whole call are large.
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

/// Drives `future` until the deadline, if there is one. A deadline that has passed already wins
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
