//! The clock of a session: which deadline is next, and what each one means.

use std::time::Instant;

use super::{Core, ending::Phase, keep_alive::Due};
use crate::{
    error::SessionError,
    frame::{Flags, Header},
    streams::{Key, ResetBy},
};

/// How many sweeps make up the close time-out. Counting sweeps costs a dropped stream nothing,
/// while a time of its own would mean asking the clock for each.
const SWEEPS: u8 = 4;

impl Core {
    /// When [`handle_timeout`](Self::handle_timeout) is to be called at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let phase = match &self.phase {
            Phase::Running => None,
            Phase::Draining { deadline } => *deadline,
            Phase::Finishing { deadline, .. } => return Some(*deadline),
            Phase::Ended(_) => return None,
        };
        let sooner = |one: Option<Instant>, other: Option<Instant>| match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        let mut deadline = sooner(phase, self.keep_alive.deadline());
        let others = [
            self.ack_deadline,
            self.write_deadline,
            self.sweep_at,
            self.wipe_deadline(),
        ];
        for other in others {
            if other.is_some() {
                deadline = sooner(deadline, other);
            }
        }
        deadline
    }

    /// Tells the time and does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        self.check_invariants();
        self.wipe_blocks(now);
        match &self.phase {
            Phase::Ended(_) => return,
            Phase::Finishing { deadline, .. } => {
                if *deadline <= now {
                    // The outcome is the one that started the end.
                    self.end(Ok(()));
                }
                return;
            }
            Phase::Draining { deadline: Some(at) } if *at <= now => {
                self.abandon_streams();
                return;
            }
            Phase::Running | Phase::Draining { .. } => {}
        }
        if self.write_deadline.is_some_and(|at| at <= now) {
            self.fail(now, SessionError::WriteTimeout(self.config.write_timeout));
            return;
        }
        if self.ack_deadline.is_some_and(|at| at <= now) {
            self.stage();
        }
        if self.sweep_at.is_some_and(|at| at <= now) {
            self.sweep(now);
        }
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

    /// A stream was dropped here and waits for the peer to finish it.
    pub(super) fn schedule_sweep(&mut self, now: impl FnOnce() -> Instant) {
        let interval = self.config.close_timeout / u32::from(SWEEPS);
        self.sweep_at.get_or_insert_with(|| now() + interval);
    }

    /// Resets the streams that were dropped long ago and that the peer has not finished.
    fn sweep(&mut self, now: Instant) {
        self.sweep_at = None;
        let keys: Vec<Key> = self.store.live_keys().collect();
        for key in keys {
            let Some(entry) = self.store.get_mut(key).filter(|entry| entry.released) else {
                continue;
            };
            entry.sweeps += 1;
            if entry.sweeps > SWEEPS {
                tracing::debug!(
                    session = self.session,
                    stream = key.id,
                    "reset a stream that the peer never finished"
                );
                self.reset_stream(key, ResetBy::Local);
            } else {
                self.schedule_sweep(|| now);
            }
        }
    }
}
