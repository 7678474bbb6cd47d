//! How long a connection may be without a request.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::ServeError;

/// What a connection is busy with. It is read and written by the task of the connection alone;
/// the atomics are there because that task may move between threads.
#[derive(Default)]
pub(super) struct Activity {
    started: AtomicU64,
    open: AtomicUsize,
}

/// A request that is being answered, until its response was handed to the connection whole.
pub(super) struct Busy(Arc<Activity>);

impl Busy {
    pub(super) fn start(activity: &Arc<Activity>) -> Self {
        activity.started.fetch_add(1, Ordering::Relaxed);
        activity.open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Activity {
    fn is_busy(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }

    fn started(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }
}

/// The clock that runs while a connection waits for its peer.
///
/// It keeps the timer that it has: one that rings too early, because the clock was started again in
/// between, is set again then, so that a request on a busy connection costs a look at the clock.
pub(super) struct Idle {
    limit: Duration,
    /// When the wait began; nobody has waited since the clock was started, if it is `None`.
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Idle {
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit,
            since: None,
            timer: None,
        }
    }

    /// Starts the clock again, with the next wait.
    pub(super) fn restart(&mut self) {
        self.since = None;
    }

    /// Ready when the peer was waited for too long. To be asked whenever it is waited for.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ServeError> {
        let since = *self.since.get_or_insert_with(Instant::now);
        // A limit beyond the end of the clock is none.
        let Some(deadline) = since.checked_add(self.limit) else {
            return Poll::Pending;
        };
        loop {
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            ready!(timer.as_mut().poll(cx));
            if deadline <= Instant::now() {
                return Poll::Ready(ServeError::Idle { limit: self.limit });
            }
            timer.as_mut().reset(deadline);
        }
    }
}

/// The clock of a connection whose requests hyper reads; hyper's own starts a timer for each.
pub(super) struct BetweenRequests {
    idle: Idle,
    activity: Arc<Activity>,
    /// How many requests there had been when it was looked last.
    seen: u64,
}

impl BetweenRequests {
    pub(super) fn new(idle: Idle, activity: Arc<Activity>) -> Self {
        let seen = activity.started();
        Self {
            idle,
            activity,
            seen,
        }
    }

    /// Ready when the connection was without a request for too long. To be asked whenever it waits.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ServeError> {
        let started = self.activity.started();
        if self.activity.is_busy() || std::mem::replace(&mut self.seen, started) != started {
            self.idle.restart();
        }
        match self.activity.is_busy() {
            true => Poll::Pending,
            false => self.idle.poll(cx),
        }
    }
}
