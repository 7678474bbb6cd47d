//! Waiting tasks. They are woken after the lock was released, because wakers run foreign code when they are cloned,
//! woken or dropped.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker, ready},
};

use atomic_waker::AtomicWaker;
use tokio::{
    sync::{Notify, futures::OwnedNotified},
    task::coop::{cooperative, poll_proceed},
};

use super::shared::{Shared, State};

/// The waker of the driver: the same for the whole session, also if the driver moves to another task.
#[derive(Debug, Default)]
pub(super) struct DriverWaker {
    pub(super) task: AtomicWaker,
    /// The connection or the timer has woken the driver.
    pub(super) is_ready: AtomicBool,
}

impl Wake for DriverWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_ready.store(true, Ordering::Release);
        self.task.wake();
    }
}

/// Tasks to be woken when the lock is released.
#[derive(Debug)]
pub(super) enum WakeUp {
    Driver,
    Task(Waker),
    /// All that wait for a notification of the session.
    Session(fn(&Waits) -> &Arc<Notify>),
    /// All that wait for the end of a stream.
    Stream(Arc<Notify>),
}

/// The notifications of a session. Any number of tasks may wait for each.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    /// A stream of the peer waits to be accepted, or accepting has ended.
    pub(crate) accept: Arc<Notify>,
    /// A stream may be opened, or opening has ended.
    pub(crate) open: Arc<Notify>,
    /// The peer sent GoAway, or the session has ended.
    pub(crate) end: Arc<Notify>,
    /// A ping was acknowledged, or the session has ended.
    pub(crate) pong: Arc<Notify>,
}

/// The tasks that wait for one stream.
#[derive(Debug, Default)]
pub(crate) struct StreamWaits {
    /// One task for each direction, so that the two halves of a split stream do not replace each other's waker.
    pub(super) tasks: [Option<Waker>; 2],
    /// Any number of tasks that wait for the end of the stream. Made for the first of them, because few do.
    pub(super) closed: Option<Arc<Notify>>,
}

/// The place of a task that waits for a notification.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Option<Pin<Box<OwnedNotified>>>);

impl Shared {
    /// Polls under the lock, at first and after each notification.
    pub(crate) fn poll_until<T>(
        &self,
        cx: &mut Context<'_>,
        notify: &Arc<Notify>,
        waiting: &mut Waiting,
        mut poll: impl FnMut(&mut State) -> Poll<T>,
    ) -> Poll<T> {
        let unit = ready!(poll_proceed(cx));
        loop {
            if let Some(notified) = &mut waiting.0 {
                ready!(notified.as_mut().poll(cx));
            }
            // Created before the state is checked, so that no notification after the check is lost.
            let notified = Arc::clone(notify).notified_owned();
            if let Poll::Ready(result) = self.with(&mut poll) {
                waiting.0 = None;
                unit.made_progress();
                return Poll::Ready(result);
            }
            waiting.0 = Some(Box::pin(notified));
        }
    }

    /// Waits until `poll` is ready, as [`poll_until`](Self::poll_until) does, with the place in the future.
    pub(crate) async fn until<T>(
        &self,
        notify: &Notify,
        mut poll: impl FnMut(&mut State) -> Poll<T>,
    ) -> T {
        cooperative(async {
            loop {
                // Created before the state is checked, so that no notification after the check is lost.
                let notified = notify.notified();
                if let Poll::Ready(result) = self.with(&mut poll) {
                    return result;
                }
                notified.await;
            }
        })
        .await
    }
}
