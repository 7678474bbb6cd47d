//! The async half: one lock around the core, the wakers of the tasks that wait, and the future that reads the
//! connection.

mod batch;
mod clock;
mod connection;
#[cfg(all(test, keyway_loom))]
mod interleavings;
mod poll;
mod shared;
mod sync;
mod waiting;
mod wakers;
mod write_side;
mod writing;
#[cfg(all(test, not(keyway_loom)))]
mod zeroizing;

use std::{
    fmt,
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Instant,
};

use tokio::time::Sleep;

use self::wakers::DriverWaker;
pub(crate) use self::{
    connection::Connection,
    shared::{Shared, State},
    waiting::{Wait, Waiting},
};
use crate::error::SessionError;

/// The future that runs a session; spawn it, or poll it beside your own work.
///
/// It reads the connection, writes what streams could not write themselves, and keeps the time.
/// It resolves when the session has ended: `Ok` after a clean close by either side, otherwise why
/// the session failed. It needs a tokio runtime with time enabled.
///
/// # Cancel safety
///
/// Polling can pause at any time; nothing is lost, but nothing moves. Dropping the driver before it
/// has resolved ends the session at once: the connection is closed and every stream fails with
/// [`SessionError::DriverDropped`].
#[must_use = "a session does nothing unless its driver is polled"]
pub struct Driver {
    shared: Arc<Shared>,
    timer: Option<Pin<Box<Sleep>>>,
    wakers: Arc<DriverWaker>,
    /// What wakes the task that polls the driver, whichever it is.
    waker: Waker,
}

impl Driver {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let wakers = Arc::<DriverWaker>::default();
        Self {
            shared,
            timer: None,
            waker: Waker::from(Arc::clone(&wakers)),
            wakers,
        }
    }

    /// Arms the timer for the session's next deadline. A timer that is early stays as it is: an
    /// idle wake-up is cheaper than moving it for every frame.
    fn arm(&mut self, deadline: Option<Instant>) {
        let Some(deadline) = deadline else {
            // One that has elapsed would make each poll look due.
            self.timer.take_if(|timer| timer.is_elapsed());
            return;
        };
        let deadline = tokio::time::Instant::from_std(deadline);
        let is_new = self.timer.is_none();
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.is_elapsed() || deadline < timer.deadline() {
            timer.as_mut().reset(deadline);
        } else if !is_new {
            return;
        }
        let mut cx = Context::from_waker(&self.waker);
        if timer.as_mut().poll(&mut cx).is_ready() {
            // The deadline has come while it was armed.
            self.waker.wake_by_ref();
        }
    }
}

impl Future for Driver {
    type Output = Result<(), SessionError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.wakers.register(cx.waker());
        // Reading the clock costs more than most polls; the timer knows whether a deadline has passed.
        let is_due = this.timer.as_ref().is_some_and(|timer| timer.is_elapsed());
        match this.shared.with(|state| state.poll(&this.waker, is_due)) {
            poll::Progress::Over(outcome) => return Poll::Ready(outcome),
            poll::Progress::Wait { deadline } => this.arm(deadline),
            poll::Progress::Again => cx.waker().wake_by_ref(),
            poll::Progress::Later => defer(cx),
        }
        Poll::Pending
    }
}

/// Wakes the task after all tasks that are ready, and those that they wake, have run.
fn defer(cx: &mut Context<'_>) {
    // Its first poll arranges that; outside a runtime it wakes at once.
    let yielding = pin!(tokio::task::yield_now());
    if yielding.poll(cx).is_ready() {
        cx.waker().wake_by_ref();
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.with(|state| state.abandon());
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}
