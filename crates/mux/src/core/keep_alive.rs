//! Keep-alive: a ping at intervals; any byte of the peer within the timeout counts as a response.

use std::{
    task::Poll,
    time::{Duration, Instant},
};

use super::Core;
use crate::{
    config::Config,
    error::SessionError,
    frame::{Flags, Header},
};

/// What is due at a deadline.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// Send a ping with this value.
    Ping(u32),
    /// The peer was silent for too long.
    Dead,
}

/// The keep-alive of one session.
#[derive(Debug)]
pub(super) struct KeepAlive {
    interval: Option<Duration>,
    timeout: Duration,
    /// When the next ping is due, while none is outstanding.
    next: Option<Instant>,
    /// The value for the next ping.
    value: u32,
    /// The outstanding ping: its value and when it was sent.
    outstanding: Option<(u32, Instant)>,
    /// When the peer counts as dead if nothing was received, while a ping is outstanding.
    dead_at: Option<Instant>,
    round_trip: Option<Duration>,
    /// The value of the last acknowledged ping.
    last_acknowledged: Option<u32>,
}

impl KeepAlive {
    pub(super) fn new(config: &Config, now: Instant) -> Self {
        Self {
            interval: config.keep_alive,
            timeout: config.keep_alive_timeout,
            next: config.keep_alive.map(|interval| now + interval),
            value: 0,
            outstanding: None,
            dead_at: None,
            round_trip: None,
            last_acknowledged: None,
        }
    }

    pub(super) const fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.dead_at.or(self.next)
    }

    /// Any byte of the peer proves that it is alive: its response may be queued behind much data.
    pub(super) fn heard(&mut self, now: Instant) {
        if self.dead_at.take().is_some() {
            self.next = self.interval.map(|interval| now + interval);
        }
    }

    /// The response to a ping arrived. Returns whether it is that of the outstanding ping; any other is ignored.
    pub(super) fn acknowledged(&mut self, value: u32, now: Instant) -> bool {
        if let Some((outstanding, sent)) = self.outstanding
            && outstanding == value
        {
            self.outstanding = None;
            self.round_trip = Some(now.saturating_duration_since(sent));
            self.last_acknowledged = Some(value);
            return true;
        }
        false
    }

    /// Begins a ping of the user, or joins the outstanding one. Returns the value to wait for, and whether a ping with it
    /// must be sent. The timeout applies as to a regular ping.
    fn ping(&mut self, now: Instant) -> (u32, bool) {
        if let Some((value, _)) = self.outstanding {
            return (value, false);
        }
        (self.begin_ping(now), true)
    }

    /// Begins to wait for the response to a ping. Returns its value.
    fn begin_ping(&mut self, now: Instant) -> u32 {
        let value = self.value;
        self.value = self.value.wrapping_add(1);
        self.outstanding = Some((value, now));
        self.dead_at.get_or_insert(now + self.timeout);
        self.next = None;
        value
    }

    /// The round-trip time, once the ping with this value or a later one was acknowledged.
    fn round_trip_of(&self, value: u32) -> Option<Duration> {
        let later = self.last_acknowledged?.wrapping_sub(value);
        self.round_trip.filter(|_| later < u32::MAX / 2)
    }

    pub(super) fn due(&mut self, now: Instant) -> Due {
        if self.dead_at.is_some_and(|at| at <= now) {
            return Due::Dead;
        }
        if self.dead_at.is_none() && self.next.is_some_and(|at| at <= now) {
            return Due::Ping(self.begin_ping(now));
        }
        Due::Nothing
    }
}

impl Core {
    /// Sends a ping for the user, or joins the outstanding one. Returns its value.
    pub(crate) fn ping(&mut self, now: Instant) -> Result<u32, SessionError> {
        if let Some(error) = self.end_error() {
            return Err(error);
        }
        let (value, is_new) = self.keep_alive.ping(now);
        if is_new {
            self.push_frame(Header::ping(Flags::SYN, value));
        }
        Ok(value)
    }

    /// The round-trip time that the ping with this value has measured.
    pub(crate) fn poll_ping(&self, value: u32) -> Poll<Result<Duration, SessionError>> {
        if let Some(round_trip) = self.keep_alive.round_trip_of(value) {
            return Poll::Ready(Ok(round_trip));
        }
        match self.end_error() {
            Some(error) => Poll::Ready(Err(error)),
            None => Poll::Pending,
        }
    }

    fn end_error(&self) -> Option<SessionError> {
        let outcome = self.outcome()?;
        Some(outcome.clone().err().unwrap_or(SessionError::Closed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn keep_alive(now: Instant) -> KeepAlive {
        let config = Config::new()
            .keep_alive(Some(30 * SECOND))
            .keep_alive_timeout(10 * SECOND);
        KeepAlive::new(&config, now)
    }

    #[test]
    fn pings_at_intervals_with_new_values() {
        let start = Instant::now();
        let mut alive = keep_alive(start);
        assert_eq!(alive.due(start + 29 * SECOND), Due::Nothing);
        assert_eq!(alive.due(start + 30 * SECOND), Due::Ping(0));
        assert_eq!(alive.due(start + 30 * SECOND), Due::Nothing);
        alive.heard(start + 31 * SECOND);
        assert!(alive.acknowledged(0, start + 31 * SECOND));
        assert_eq!(alive.round_trip(), Some(SECOND));
        assert_eq!(alive.deadline(), Some(start + 61 * SECOND));
        assert_eq!(alive.due(start + 61 * SECOND), Due::Ping(1));
    }

    #[test]
    fn silence_after_a_ping_is_death() {
        let start = Instant::now();
        let mut alive = keep_alive(start);
        assert_eq!(alive.due(start + 30 * SECOND), Due::Ping(0));
        assert_eq!(alive.deadline(), Some(start + 40 * SECOND));
        assert_eq!(alive.due(start + 39 * SECOND), Due::Nothing);
        assert_eq!(alive.due(start + 40 * SECOND), Due::Dead);
    }

    #[test]
    fn m24_any_sign_of_life_counts() {
        let start = Instant::now();
        let mut alive = keep_alive(start);
        assert_eq!(alive.due(start + 30 * SECOND), Due::Ping(0));
        alive.heard(start + 39 * SECOND);
        assert_eq!(alive.due(start + 45 * SECOND), Due::Nothing);
        // The response itself may come later still, and its round trip counts.
        assert!(alive.acknowledged(0, start + 46 * SECOND));
        assert_eq!(alive.round_trip(), Some(16 * SECOND));
    }

    #[test]
    fn a_response_with_another_value_is_ignored() {
        let start = Instant::now();
        let mut alive = keep_alive(start);
        assert_eq!(alive.due(start + 30 * SECOND), Due::Ping(0));
        assert!(!alive.acknowledged(7, start + 31 * SECOND));
        assert_eq!(alive.round_trip(), None);
    }

    #[test]
    fn pings_of_the_user_are_shared_and_measure() {
        let start = Instant::now();
        let mut alive = keep_alive(start);
        assert_eq!(alive.ping(start), (0, true));
        assert_eq!(alive.ping(start + SECOND), (0, false));
        assert_eq!(alive.round_trip_of(0), None);
        alive.heard(start + 2 * SECOND);
        assert!(alive.acknowledged(0, start + 2 * SECOND));
        assert_eq!(alive.round_trip_of(0), Some(2 * SECOND));
        assert_eq!(alive.deadline(), Some(start + 32 * SECOND));
        assert_eq!(alive.ping(start + 3 * SECOND), (1, true));
        assert_eq!(alive.round_trip_of(1), None);
    }

    #[test]
    fn silence_after_a_ping_of_the_user_is_death_without_keep_alive_too() {
        let start = Instant::now();
        let mut alive = KeepAlive::new(&Config::new().keep_alive(None), start);
        assert_eq!(alive.ping(start), (0, true));
        assert_eq!(alive.due(start + 10 * SECOND), Due::Dead);
        let mut alive = KeepAlive::new(&Config::new().keep_alive(None), start);
        assert_eq!(alive.ping(start), (0, true));
        alive.heard(start + SECOND);
        assert_eq!(alive.deadline(), None);
    }

    #[test]
    fn can_be_turned_off() {
        let start = Instant::now();
        let mut alive = KeepAlive::new(&Config::new().keep_alive(None), start);
        assert_eq!(alive.deadline(), None);
        assert_eq!(alive.due(start + 3600 * SECOND), Due::Nothing);
    }
}
