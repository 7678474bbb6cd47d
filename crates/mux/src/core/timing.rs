//! The clock of a session: which deadline is next, and what each one means.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    Core,
    ending::{LINGER, Phase},
};
use crate::{
    error::SessionError,
    streams::{Key, ResetBy},
};

/// How many periods make up the half-closed timeout. Counting them costs a dropped stream nothing, while a deadline of
/// its own would mean asking the clock for each.
const HALF_CLOSED_PERIODS: u8 = 4;

/// What a deadline is for. What is due at the same time happens in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Blocks are zeroized that still hold what was read from them.
    Zeroize,
    /// The phase of the session ends.
    Phase,
    /// The connection must have taken a byte; armed while it takes nothing.
    Write,
    /// Acknowledgements leave, even if nothing leaves with them.
    Ack,
    /// Dropped streams that the peer has not finished are counted.
    HalfClosed,
    /// Dropped streams on which the peer cannot send are reset.
    Linger,
    /// The next ping is sent; armed while none is outstanding.
    KeepAlive,
    /// The peer must have sent a byte since a ping.
    Pong,
}

impl Core {
    /// When [`handle_timeout`](Self::handle_timeout) is to be called at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadlines.values().min().copied()
    }

    /// Sets the time and does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        self.check_invariants();
        let due = |deadlines: &BTreeMap<Timer, Instant>| {
            let (timer, at) = deadlines.iter().find(|(_, at)| **at <= now)?;
            Some((*timer, *at))
        };
        while let Some((timer, at)) = due(&self.deadlines) {
            self.deadlines.remove(&timer);
            self.elapsed(timer, at, now);
        }
    }

    fn elapsed(&mut self, timer: Timer, at: Instant, now: Instant) {
        match timer {
            Timer::Zeroize => self.buffers.zeroize(),
            Timer::Phase => self.phase_elapsed(),
            Timer::Write => {
                let timeout = self.config.write_timeout;
                if !self.is_finishing() && self.is_excused(timeout, at, now) {
                    self.deadlines.insert(timer, now + timeout);
                } else {
                    self.end(Err(SessionError::WriteTimeout(timeout)));
                }
            }
            Timer::Ack => self.stage(),
            Timer::HalfClosed => self.reset_half_closed(now),
            Timer::Linger => self.reset_lingering(now),
            Timer::KeepAlive => {
                self.trim_buffers();
                self.send_ping(now);
            }
            Timer::Pong => {
                let timeout = self.config.keep_alive_timeout;
                if self.is_excused(timeout, at, now) {
                    self.deadlines.insert(timer, now + timeout);
                } else {
                    self.fail(now, SessionError::KeepAliveTimeout(timeout));
                }
            }
        }
    }

    /// Whether the peer is not to blame for a `timeout` that has passed `at` this time, so that it begins again: the peer is
    /// suspended, or this process was, if the deadline is longer ago than the timeout lasts. Then the peer may have been
    /// suspended as well, and continues at the same time.
    fn is_excused(&self, timeout: Duration, at: Instant, now: Instant) -> bool {
        now.saturating_duration_since(at) > timeout || self.config.peer_suspension.is_suspended()
    }

    fn phase_elapsed(&mut self) {
        match &self.phase {
            Phase::Running | Phase::Ended(_) => {}
            Phase::Draining => self.abandon_streams(),
            Phase::WriteFailed(error) => {
                let error = error.clone();
                self.end(Err(error));
            }
            Phase::Finishing(_) => self.end(Ok(())),
        }
    }

    /// A stream was dropped here while the peer cannot send any more of it: it is reset after a while. At once,
    /// the reset would overtake what was written last: HashiCorp's implementation drops what a reader has not
    /// taken when a reset arrives.
    pub(super) fn linger_before_reset(&mut self, key: Key, now: impl FnOnce() -> Instant) {
        let at = now() + LINGER;
        self.lingering.push_back((at, key));
        self.deadlines.entry(Timer::Linger).or_insert(at);
    }

    fn reset_lingering(&mut self, now: Instant) {
        while let Some((_, key)) = self.lingering.pop_front_if(|(at, _)| *at <= now) {
            if self.store.find(key.id) == Some(key) {
                self.reset_stream(key, ResetBy::Local);
            }
        }
        if let Some((at, _)) = self.lingering.front() {
            self.deadlines.insert(Timer::Linger, *at);
        }
    }

    /// A stream was dropped here and waits for the peer to finish it.
    pub(super) fn arm_half_closed_timeout(&mut self, now: impl FnOnce() -> Instant) {
        let interval = self.config.close_timeout / u32::from(HALF_CLOSED_PERIODS);
        let deadline = self.deadlines.entry(Timer::HalfClosed);
        deadline.or_insert_with(|| now() + interval);
    }

    /// Resets the streams that were dropped long ago and that the peer has not finished.
    fn reset_half_closed(&mut self, now: Instant) {
        let keys: Vec<Key> = self.store.live_keys().collect();
        for key in keys {
            let entry = self.store.get_mut(key);
            let Some(entry) = entry.filter(|entry| entry.is_handle_dropped) else {
                continue;
            };
            entry.half_closed_periods += 1;
            if entry.half_closed_periods > HALF_CLOSED_PERIODS {
                self.log_stream(key.id, "reset a stream that the peer never finished");
                self.reset_stream(key, ResetBy::Local);
            } else {
                self.arm_half_closed_timeout(|| now);
            }
        }
    }
}
