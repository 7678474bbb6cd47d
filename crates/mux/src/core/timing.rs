//! The deadlines of a session.

use std::{
    ops::{Index, IndexMut},
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

/// The number of periods that make up the half-closed timeout. Counting periods costs a dropped stream nothing; a
/// deadline of its own would cost a clock read for each.
const HALF_CLOSED_PERIODS: u8 = 4;

/// The purpose of a deadline. Deadlines that are due at the same time elapse in this order.
#[derive(Clone, Copy, Debug)]
pub(super) enum Timer {
    /// Blocks that hold bytes which were read are zeroized.
    Zeroize,
    /// The phase of the session ends.
    Phase,
    /// The connection must have taken a byte; armed while it takes nothing.
    Write,
    /// Acknowledgements are sent, even alone.
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

impl Timer {
    /// All timers, in the order in which they are declared.
    const ALL: [Self; 8] = [
        Self::Zeroize,
        Self::Phase,
        Self::Write,
        Self::Ack,
        Self::HalfClosed,
        Self::Linger,
        Self::KeepAlive,
        Self::Pong,
    ];
}

/// The deadline of each timer that is armed.
#[derive(Debug, Default)]
pub(super) struct Deadlines([Option<Instant>; Timer::ALL.len()]);

impl Index<Timer> for Deadlines {
    type Output = Option<Instant>;

    fn index(&self, timer: Timer) -> &Option<Instant> {
        &self.0[timer as usize]
    }
}

impl IndexMut<Timer> for Deadlines {
    fn index_mut(&mut self, timer: Timer) -> &mut Option<Instant> {
        &mut self.0[timer as usize]
    }
}

impl Core {
    /// The latest time for the next call of [`handle_timeout`](Self::handle_timeout).
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadlines.0.iter().flatten().min().copied()
    }

    /// Sets the time and handles the deadlines that have passed.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        self.check_invariants();
        for timer in Timer::ALL {
            if let Some(at) = self.deadlines[timer].take_if(|at| *at <= now) {
                self.elapsed(timer, at, now);
            }
        }
    }

    fn elapsed(&mut self, timer: Timer, at: Instant, now: Instant) {
        match timer {
            Timer::Zeroize => self.buffers.zeroize(),
            Timer::Phase => self.phase_elapsed(),
            Timer::Write => {
                let timeout = self.config.write_timeout;
                if !self.is_finishing() && self.is_excused(timeout, at, now) {
                    self.deadlines[timer] = Some(now + timeout);
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
                    self.deadlines[timer] = Some(now + timeout);
                } else {
                    self.fail(now, SessionError::KeepAliveTimeout(timeout));
                }
            }
        }
    }

    /// Returns `true` if a `timeout` that has passed `at` this time begins again, because the peer is suspended or this
    /// process was. This process was if the deadline is longer ago than the timeout lasts; then the peer may have been
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

    /// Resets a stream after the linger time: it was dropped here, and the peer has used up its window. An immediate reset
    /// would destroy the last written bytes, because HashiCorp's implementation drops unread bytes when a reset arrives.
    pub(super) fn linger_before_reset(&mut self, key: Key, now: impl FnOnce() -> Instant) {
        let at = now() + LINGER;
        self.lingering.push_back((at, key));
        self.deadlines[Timer::Linger].get_or_insert(at);
    }

    fn reset_lingering(&mut self, now: Instant) {
        while let Some((_, key)) = self.lingering.pop_front_if(|(at, _)| *at <= now) {
            if self.store.find(key.id) == Some(key) {
                self.reset_stream(key, ResetBy::Local);
            }
        }
        self.deadlines[Timer::Linger] = self.lingering.front().map(|(at, _)| *at);
    }

    /// Starts the timeout of a stream that was dropped here and not finished by the peer.
    pub(super) fn arm_half_closed_timeout(&mut self, now: impl FnOnce() -> Instant) {
        let interval = self.config.close_timeout / u32::from(HALF_CLOSED_PERIODS);
        self.deadlines[Timer::HalfClosed].get_or_insert_with(|| now() + interval);
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
                self.log_stream(key.id, "stream reset: the peer never finished it");
                self.reset_stream(key, ResetBy::Local);
            } else {
                self.arm_half_closed_timeout(|| now);
            }
        }
    }
}
