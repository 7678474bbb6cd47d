//! [`Stop`]: the signal that ends a connection.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;

/// A future whose end means that a connection takes no further request.
pub(super) struct Stop<'a, F> {
    future: Pin<&'a mut F>,
    stopping: bool,
}

impl<'a, F: Future<Output = ()>> Stop<'a, F> {
    pub(super) fn new(future: Pin<&'a mut F>) -> Self {
        Self {
            future,
            stopping: false,
        }
    }

    /// Returns `true` if the connection takes no further request. If not, the task is woken when
    /// that changes; to be polled whenever the connection waits.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        self.stopping = self.stopping || self.future.as_mut().poll(cx).is_ready();
        self.stopping
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping
    }
}
