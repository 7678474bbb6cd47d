//! Tasks that wait, and how they are woken: after the lock was released, because a waker runs foreign code where it is
//! cloned, woken or dropped.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker, ready},
};

use atomic_waker::AtomicWaker;
use tokio::{
    sync::{Notify, futures::OwnedNotified},
    task::coop::{cooperative, poll_proceed},
};

use super::shared::{Shared, State};

/// The waker that the connection and streams use for the driver: the same for the whole session, whatever task polls
/// the driver.
#[derive(Debug, Default)]
pub(super) struct DriverWaker(pub(super) AtomicWaker);

impl Wake for DriverWaker {
    fn wake(self: Arc<Self>) {
        self.0.wake();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.wake();
    }
}

/// Tasks to be woken when the lock is released.
#[derive(Debug)]
pub(super) enum WakeUp {
    Task(Waker),
    All(Arc<Notify>),
}

impl WakeUp {
    pub(super) fn wake(self) {
        match self {
            Self::Task(waker) => waker.wake(),
            Self::All(notify) => notify.notify_waiters(),
        }
    }
}

/// Where any number of tasks wait for something of the whole session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waits {
    /// A stream of the peer, or the end of accepting.
    pub(crate) accept: Arc<Notify>,
    /// A place among the unacknowledged streams.
    pub(crate) open: Arc<Notify>,
    /// The peer's GoAway or the end of the session.
    pub(crate) end: Arc<Notify>,
    /// The response to a ping.
    pub(crate) pong: Arc<Notify>,
}

/// The tasks that wait for one stream.
#[derive(Debug, Default)]
pub(crate) struct StreamWaits {
    /// One task for each direction, so that two halves of a split stream do not take each other's place.
    pub(super) tasks: [Option<Waker>; 2],
    /// Any number of tasks that wait for the end of the stream. Made for the first of them, because few do.
    pub(super) closed: Option<Arc<Notify>>,
}

/// A task that waits with others. It leaves its place when it is dropped.
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
            // Made before the state is looked at, so that no notification after that is lost.
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
                // Made before the state is looked at, so that no notification after that is lost.
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
