//! Tasks that end with their owner, and points in time that may never come.

use std::future::{Future, pending};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, sleep_until};

/// A task that is aborted when this value is dropped. Awaiting it gives the task's result.
#[derive(Debug)]
pub(crate) struct OwnedTask<T>(JoinHandle<T>);

impl<T: Send + 'static> OwnedTask<T> {
    /// Starts a task.
    pub(crate) fn spawn(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self(tokio::spawn(future))
    }
}

impl<T> Future for OwnedTask<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> Drop for OwnedTask<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Resolves at `deadline`, or never.
pub(crate) async fn until(deadline: Option<impl Into<Instant>>) {
    match deadline {
        Some(instant) => sleep_until(instant.into()).await,
        None => pending().await,
    }
}
