//! The clock of a session: which deadline is next, and what each one means.

use std::time::Instant;

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
#[derive(Clone, Copy, Debug)]
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

impl Timer {
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

/// The deadlines of one session.
#[derive(Debug, Default)]
pub(super) struct Deadlines([Option<Instant>; Timer::ALL.len()]);

impl Deadlines {
    pub(super) const fn get(&self, timer: Timer) -> Option<Instant> {
        self.0[timer as usize]
    }

    /// Arms the timer, if there is a deadline, and stops it otherwise.
    pub(super) const fn set(&mut self, timer: Timer, deadline: Option<Instant>) {
        self.0[timer as usize] = deadline;
    }

    /// Arms the timer unless it is armed.
    pub(super) fn arm(&mut self, timer: Timer, deadline: impl FnOnce() -> Instant) {
        self.0[timer as usize].get_or_insert_with(deadline);
    }

    /// Stops the timer. Returns whether it was armed.
    pub(super) const fn stop(&mut self, timer: Timer) -> bool {
        self.0[timer as usize].take().is_some()
    }

    /// Stops the timers that only matter while streams are open.
    pub(super) fn stop_all_of_streams(&mut self) {
        let (phase, write) = (self.get(Timer::Phase), self.get(Timer::Write));
        *self = Self::default();
        self.set(Timer::Phase, phase);
        self.set(Timer::Write, write);
    }

    fn next(&self) -> Option<Instant> {
        self.0.iter().flatten().min().copied()
    }
}

impl Core {
    /// When [`handle_timeout`](Self::handle_timeout) is to be called at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Sets the time and does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        self.check_invariants();
        for timer in Timer::ALL {
            if self.deadlines.get(timer).is_some_and(|at| at <= now) {
                self.deadlines.stop(timer);
                self.timer_elapsed(timer, now);
            }
        }
    }

    fn timer_elapsed(&mut self, timer: Timer, now: Instant) {
        match timer {
            Timer::Zeroize => self.buffers.zeroize(),
            Timer::Phase => self.phase_elapsed(),
            Timer::Write => {
                let error = SessionError::WriteTimeout(self.config.write_timeout);
                if self.is_finishing() {
                    self.end(Err(error));
                } else {
                    self.fail(now, error);
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
                self.fail(now, SessionError::KeepAliveTimeout(timeout));
            }
        }
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
        self.deadlines.arm(Timer::Linger, || at);
    }

    fn reset_lingering(&mut self, now: Instant) {
        while let Some((_, key)) = self.lingering.pop_front_if(|(at, _)| *at <= now) {
            if self.store.find(key.id) == Some(key) {
                self.reset_stream(key, ResetBy::Local);
            }
        }
        let next = self.lingering.front().map(|(at, _)| *at);
        self.deadlines.set(Timer::Linger, next);
    }

    /// A stream was dropped here and waits for the peer to finish it.
    pub(super) fn arm_half_closed_timeout(&mut self, now: impl FnOnce() -> Instant) {
        let interval = self.config.close_timeout / u32::from(HALF_CLOSED_PERIODS);
        self.deadlines.arm(Timer::HalfClosed, || now() + interval);
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
