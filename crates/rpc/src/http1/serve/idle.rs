//! How long a connection may be without a request.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

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

/// The clock that runs while no request is open.
///
/// hyper's own starts a timer for each request. This one keeps the timer that it has: one that
/// rings too early, because a request came in between, is set again then, so that a request on a
/// busy connection costs a look at the clock.
pub(super) struct IdleClock {
    limit: Duration,
    activity: Arc<Activity>,
    /// How many requests there had been when the connection became idle, and when that was.
    idle: Option<(u64, Instant)>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl IdleClock {
    pub(super) fn new(limit: Duration, activity: Arc<Activity>) -> Self {
        Self {
            limit,
            activity,
            idle: None,
            timer: None,
        }
    }

    /// Ready when the connection has been idle for too long. To be asked whenever the connection
    /// waits.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.activity.open.load(Ordering::Relaxed) > 0 {
            self.idle = None;
            return Poll::Pending;
        }
        let started = self.activity.started.load(Ordering::Relaxed);
        let since = match self.idle {
            Some((seen, since)) if seen == started => since,
            _ => Instant::now(),
        };
        self.idle = Some((started, since));
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
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }
}
