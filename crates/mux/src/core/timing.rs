//! The clock of a session: which deadline is next, and what each one means.

use std::time::Instant;

use super::{Core, ending::LINGER, keep_alive::Due};
use crate::{
    error::SessionError,
    frame::{Flags, Header},
    streams::{Key, ResetBy},
};

/// How many periods make up the half-closed timeout. Counting them costs a dropped stream nothing, while a deadline of
/// its own would mean asking the clock for each.
const HALF_CLOSED_PERIODS: u8 = 4;

/// Whether a deadline has come.
fn is_due(deadline: Option<Instant>, now: Instant) -> bool {
    deadline.is_some_and(|at| at <= now)
}

impl Core {
    /// When [`handle_timeout`](Self::handle_timeout) is to be called at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        if self.has_ended() {
            return None;
        }
        let keep_alive = self.keep_alive.deadline();
        let deadlines = [
            self.phase.deadline(),
            // The other deadlines of streams are unset when these are over.
            keep_alive.filter(|_| !self.is_over()),
            self.ack_deadline,
            self.write_deadline,
            self.write_failure.as_ref().map(|(_, at)| *at),
            self.half_closed_deadline,
            self.lingering.front().map(|(at, _)| *at),
            self.zeroize_deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Sets the time and does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        self.check_invariants();
        self.zeroize_blocks(now);
        if let Some((error, _)) = self.write_failure.take_if(|(_, at)| *at <= now) {
            self.end(Err(error));
        }
        if self.has_ended() {
            return;
        }
        let is_phase_due = is_due(self.phase.deadline(), now);
        if is_phase_due && self.is_finishing() {
            return self.end(Ok(()));
        }
        if is_phase_due {
            return self.abandon_streams();
        }
        if is_due(self.write_deadline, now) {
            let error = SessionError::WriteTimeout(self.config.write_timeout);
            return if self.is_finishing() {
                self.end(Err(error));
            } else {
                self.fail(now, error);
            };
        }
        if self.is_finishing() {
            return;
        }
        if is_due(self.ack_deadline, now) {
            self.stage();
        }
        if is_due(self.half_closed_deadline, now) {
            self.reset_half_closed(now);
        }
        self.reset_lingering(now);
        match self.keep_alive.due(now) {
            Due::Nothing => {}
            Due::Ping(value) => {
                self.trim_buffers();
                self.push_frame(Header::ping(Flags::SYN, value));
            }
            Due::Dead => {
                let timeout = self.config.keep_alive_timeout;
                self.fail(now, SessionError::KeepAliveTimeout(timeout));
            }
        }
    }

    /// A stream was dropped here while the peer cannot send any more of it: it is reset after a while. At once,
    /// the reset would overtake what was written last: HashiCorp's implementation drops what a reader has not
    /// taken when a reset arrives.
    pub(super) fn linger_before_reset(&mut self, key: Key, now: impl FnOnce() -> Instant) {
        self.lingering.push_back((now() + LINGER, key));
    }

    fn reset_lingering(&mut self, now: Instant) {
        while let Some((at, key)) = self.lingering.front().copied()
            && at <= now
        {
            self.lingering.pop_front();
            if self.store.find(key.id) == Some(key) {
                self.reset_stream(key, ResetBy::Local);
            }
        }
    }

    /// A stream was dropped here and waits for the peer to finish it.
    pub(super) fn arm_half_closed_timeout(&mut self, now: impl FnOnce() -> Instant) {
        let interval = self.config.close_timeout / u32::from(HALF_CLOSED_PERIODS);
        self.half_closed_deadline
            .get_or_insert_with(|| now() + interval);
    }

    /// Resets the streams that were dropped long ago and that the peer has not finished.
    fn reset_half_closed(&mut self, now: Instant) {
        self.half_closed_deadline = None;
        let keys: Vec<Key> = self.store.live_keys().collect();
        for key in keys {
            let Some(entry) = self
                .store
                .get_mut(key)
                .filter(|entry| entry.is_handle_dropped)
            else {
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
