//! [`Stop`]: the signal that ends a connection.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Sleep, sleep};

/// The time for which the first request of a connection is waited for after the stop. Its peer has just connected, and the request is
/// on its way: only a request on a connection that was used before may be sent again.
const FIRST_REQUEST_GRACE: Duration = Duration::from_millis(100);

/// A future whose end means that a connection takes no further request.
pub(super) struct Stop<'a, F> {
    future: Pin<&'a mut F>,
    stopping: bool,
    /// The end of [`FIRST_REQUEST_GRACE`].
    grace: Option<Pin<Box<Sleep>>>,
}

impl<'a, F: Future<Output = ()>> Stop<'a, F> {
    pub(super) fn new(future: Pin<&'a mut F>) -> Self {
        Self {
            future,
            stopping: false,
            grace: None,
        }
    }

    /// Returns `true` if the connection takes no further request. If not, the task is woken when
    /// that changes; to be polled whenever the connection waits.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        self.stopping = self.stopping || self.future.as_mut().poll(cx).is_ready();
        self.stopping
    }

    /// As [`poll`](Self::poll), for a connection that has made no request.
    pub(super) fn poll_silent(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.poll(cx) {
            return false;
        }
        let grace = self
            .grace
            .get_or_insert_with(|| Box::pin(sleep(FIRST_REQUEST_GRACE)));
        grace.as_mut().poll(cx).is_ready()
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping
    }
}
