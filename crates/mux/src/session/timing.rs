//! The clock of a session: which deadline is next, and what each one means.

use std::time::{Duration, Instant};

use super::{Core, ending::Phase, keep_alive::Due};
use crate::{
    error::SessionError,
    frame::{Flags, Header},
    streams::{Key, ResetBy},
};

/// How often dropped streams that the peer does not finish are looked for, at most.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

impl Core {
    /// When [`handle_timeout`](Self::handle_timeout) is to be called at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let phase = match &self.phase {
            Phase::Running => None,
            Phase::Draining { deadline } => *deadline,
            Phase::Finishing { deadline, .. } => return Some(*deadline),
            Phase::Ended(_) => return None,
        };
        let deadlines = [
            phase,
            self.ack_deadline,
            self.write_deadline,
            self.sweep_at,
            self.keep_alive.deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Tells the time and does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        self.check_invariants();
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
            Due::Ping(value) => self.push_frame(Header::ping(Flags::SYN, value)),
            Due::Dead => {
                let timeout = self.config.keep_alive_timeout;
                self.fail(now, SessionError::KeepAliveTimeout(timeout));
            }
        }
    }

    /// A stream was dropped here and waits for the peer to finish it.
    pub(super) fn schedule_sweep(&mut self, now: Instant) {
        self.sweep_at
            .get_or_insert(now + self.config.close_timeout.min(SWEEP_INTERVAL));
    }

    /// Resets the streams that were dropped long ago and that the peer has not finished.
    fn sweep(&mut self, now: Instant) {
        self.sweep_at = None;
        let limit = self.config.close_timeout;
        let released = |key: Key| self.store.get(key).and_then(|entry| entry.released_at);
        let waiting: Vec<(Key, Instant)> = self
            .store
            .live_keys()
            .filter_map(|key| Some((key, released(key)?)))
            .collect();
        for (key, released_at) in waiting {
            if now.saturating_duration_since(released_at) >= limit {
                tracing::debug!(
                    stream = key.id,
                    "reset a stream that the peer never finished"
                );
                self.reset_stream(key, ResetBy::Local);
            } else {
                self.schedule_sweep(now);
            }
        }
    }
}
