//! [`Clock`]: how long a connection may wait for its peer in each state.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::state::{Shared, State};
use super::{Limits, ServeError};

/// A peer that takes this many bytes of a response has the whole
/// [write timeout](Limits::write_timeout) again.
pub(super) const PROGRESS: u64 = 64 * 1024;

/// Limit for reading the rest of a request after its response was sent.
pub(super) const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

/// The timeout of the current state.
///
/// The timer is kept from one state to the next: one that fires early is set again then, so that a
/// request on a busy connection reads the clock and does not touch the timer.
pub(super) struct Clock {
    shared: Arc<Shared>,
    state: State,
    since: Instant,
    /// Number of bytes of the response that were taken at `since`.
    written: u64,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Clock {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            state: State::Silent,
            since: Instant::now(),
            written: 0,
            timer: None,
        }
    }

    /// Returns the state that the connection shares with the accept loop.
    #[cfg(feature = "h2c")]
    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Returns `true` if no byte of a request has arrived.
    pub(super) fn is_silent(&self) -> bool {
        self.state == State::Silent
    }

    /// Enters a state; the time in it counts from now. Entering the current state changes nothing.
    ///
    /// # Errors
    ///
    /// Returns [`ServeError::Evicted`] if the accept loop gave the connection's place to another.
    pub(super) fn enter(&mut self, state: State) -> Result<(), ServeError> {
        if self.state == state {
            return Ok(());
        }
        self.restart(state)
    }

    /// Enters a state, and counts the time in it from now also if it is the current one.
    pub(super) fn restart(&mut self, state: State) -> Result<(), ServeError> {
        let now = state.waits_for_peer().then(Instant::now);
        self.since = now.unwrap_or(self.since);
        self.state = state;
        match self.shared.enter(state, now) {
            true => Ok(()),
            false => Err(ServeError::Evicted),
        }
    }

    /// Enters [`State::Reader`] for a response of which so many bytes were taken.
    pub(super) fn enter_reader(&mut self, written: u64) -> Result<(), ServeError> {
        let is_progress = written.saturating_sub(self.written) >= PROGRESS;
        if self.state == State::Reader && !is_progress {
            return Ok(());
        }
        self.written = written;
        self.restart(State::Reader)
    }

    /// Begins to count the bytes of another response.
    pub(super) fn begin_response(&mut self) {
        self.written = 0;
    }

    /// Returns the timeout when the current state has lasted for longer than it.
    pub(super) fn poll(&mut self, limits: &Limits, cx: &mut Context<'_>) -> Poll<Duration> {
        let limit = match self.state {
            State::Closing => LINGER_TIMEOUT,
            State::Silent => limits.first_byte_timeout,
            State::Preface | State::Head => limits.head_timeout,
            State::Idle => limits.idle_timeout,
            State::Body => limits.body_timeout,
            State::Reader => limits.write_timeout,
            State::Handler | State::Upgraded | State::Evicted => return Poll::Pending,
        };
        // A deadline that the clock cannot represent never passes.
        let Some(deadline) = self.since.checked_add(limit) else {
            return Poll::Pending;
        };
        ready!(self.poll_timer(deadline, cx));
        Poll::Ready(limit)
    }

    /// Returns `Ready` when the deadline has passed.
    pub(super) fn poll_timer(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
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
