//! The async half: the lock around the core, the wakers of waiting tasks, and the future that runs the session.

mod batch;
mod clock;
mod coalescing;
#[cfg(all(test, keyway_loom))]
mod interleavings;
mod poll;
mod shared;
mod sync;
mod waiting;
mod write_side;
mod writing;
#[cfg(all(test, not(keyway_loom)))]
mod zeroizing;

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Instant,
};

use tokio::time::Sleep;

pub(crate) use self::{
    shared::{Shared, State},
    waiting::Waiting,
    write_side::Connection,
};
use crate::error::SessionError;

/// The future that runs a session; spawn it, or poll it beside your own work.
///
/// It reads the connection, writes frames that streams have not written themselves, and handles timeouts.
/// It resolves when the session has ended: to `Ok` after a clean close by either side, otherwise to the error that ended
/// the session. It needs a tokio runtime with time enabled.
///
/// # Cancel safety
///
/// Polling can pause at any time: nothing is lost, but nothing is received meanwhile. Dropping the driver before it
/// has resolved ends the session at once: the connection is closed and every stream fails with
/// [`SessionError::DriverDropped`].
#[must_use = "a session does nothing unless its driver is polled"]
#[derive(Debug)]
pub struct Driver {
    shared: Arc<Shared>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Driver {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            timer: None,
        }
    }

    /// Arms the timer for a deadline. A timer that is early stays as it is: an
    /// idle wake-up is cheaper than moving it for every frame.
    fn arm(&mut self, deadline: Option<Instant>) {
        let Some(deadline) = deadline.map(tokio::time::Instant::from_std) else {
            return;
        };
        if self
            .timer
            .as_ref()
            .is_some_and(|timer| timer.deadline() <= deadline)
        {
            return;
        }
        let timer = self
            .timer
            .insert(Box::pin(tokio::time::sleep_until(deadline)));
        let waker = Waker::from(Arc::clone(&self.shared.driver));
        if timer
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready()
        {
            // The deadline has passed while it was armed.
            waker.wake();
        }
    }
}

impl Future for Driver {
    type Output = Result<(), SessionError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        // Before the driver looks for work, so that none is missed.
        this.shared.driver.task.register(cx.waker());
        // Reading the clock costs more than most polls; the timer knows whether a deadline has passed.
        let is_due = this.timer.as_ref().is_some_and(|timer| timer.is_elapsed());
        match this.shared.with(|state| state.poll(is_due)) {
            poll::Progress::Over(outcome) => return Poll::Ready(outcome),
            poll::Progress::Wait { deadline } => {
                // A timer that has elapsed would make each poll look due.
                this.timer.take_if(|_| is_due);
                this.arm(deadline);
            }
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
