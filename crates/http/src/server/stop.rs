//! [`Stop`]: whether a connection is to end.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;

/// A future that says, by its end, that a connection takes no further request.
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

    /// Asks, and is woken when the answer changes. To be asked when the connection waits; one that
    /// is busy has no use for the answer.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        self.stopping = self.stopping || self.future.as_mut().poll(cx).is_ready();
        self.stopping
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping
    }
}
