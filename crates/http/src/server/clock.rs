//! [`Clock`]: how long a connection may keep its server waiting.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::activity::{Activity, Wait};
use super::{ServeConfig, ServeError};

/// A peer that reads slowly has this much longer than [`ServeConfig::write_timeout`] each time
/// that it took as many bytes: the time of a large response depends on its size, and one that is
/// read byte by byte still has an end.
const PROGRESS: u64 = 64 * 1024;

/// The clock that runs while a connection waits for its peer.
///
/// It keeps the timer that it has: one that rings too early, because the clock was started again in
/// between, is set again then, so that a request on a busy connection costs a look at the clock.
pub(super) struct Clock {
    idle_timeout: Duration,
    header_read_timeout: Duration,
    write_timeout: Duration,
    /// What is waited for, and since when; nothing since the clock was started, if it is `None`.
    waiting: Option<(Wait, Instant)>,
    /// How many requests there had been when it was looked last.
    requests: u64,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Clock {
    pub(super) fn new(config: &ServeConfig) -> Self {
        Self {
            idle_timeout: config.idle_timeout,
            header_read_timeout: config.header_read_timeout,
            write_timeout: config.write_timeout,
            waiting: None,
            requests: 0,
            timer: None,
        }
    }

    /// Starts the clock again, with the next wait.
    pub(super) fn restart(&mut self) {
        self.waiting = None;
    }

    /// Ready when this was waited for too long, which is an error unless nothing had begun. To be
    /// asked whenever the peer is waited for.
    pub(super) fn poll(
        &mut self,
        wait: Wait,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), ServeError>> {
        let since = self.since(wait);
        let limit = match wait {
            Wait::Request => self.idle_timeout,
            Wait::Head => self.header_read_timeout,
            Wait::Reader { .. } => self.write_timeout,
        };
        // A limit beyond the end of the clock is none.
        let Some(deadline) = since.checked_add(limit) else {
            return Poll::Pending;
        };
        ready!(self.poll_timer(deadline, cx));
        Poll::Ready(match wait {
            Wait::Request => Ok(()),
            Wait::Head => Err(ServeError::SlowHead { limit }),
            Wait::Reader { .. } => Err(ServeError::SlowReader { limit }),
        })
    }

    /// The same for a connection that hyper serves. To be asked whenever hyper waits.
    pub(super) fn poll_activity(
        &mut self,
        activity: &Activity,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), ServeError>> {
        let wait = activity.wait();
        let requests = activity.requests();
        if wait.is_none() || std::mem::replace(&mut self.requests, requests) != requests {
            self.restart();
        }
        match wait {
            Some(wait) => self.poll(wait, cx),
            None => Poll::Pending,
        }
    }

    /// When this wait began, which may be now.
    fn since(&mut self, wait: Wait) -> Instant {
        if let Some((last, since)) = self.waiting {
            let goes_on = match (last, wait) {
                (Wait::Reader { written: before }, Wait::Reader { written }) => {
                    written - before < PROGRESS
                }
                (last, wait) => last == wait,
            };
            if goes_on {
                return since;
            }
        }
        let now = Instant::now();
        self.waiting = Some((wait, now));
        now
    }

    fn poll_timer(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if deadline <= Instant::now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }
}
