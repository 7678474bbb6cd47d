//! Pings: one at intervals, and those of the user. Any byte of the peer within the timeout counts as a response.

use std::{
    task::Poll,
    time::{Duration, Instant},
};

use super::{Core, Event, timing::Timer};
use crate::{
    error::SessionError,
    frame::{Flags, Header},
};

/// The pings of one session.
#[derive(Debug, Default)]
pub(super) struct Pings {
    /// The value for the next ping.
    value: u32,
    /// The outstanding ping: its value and when it was sent.
    outstanding: Option<(u32, Instant)>,
    /// The last acknowledged ping: its value and round-trip time.
    acknowledged: Option<(u32, Duration)>,
}

impl Pings {
    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.acknowledged.map(|(_, round_trip)| round_trip)
    }
}

impl Core {
    /// Waits for the interval before the next ping.
    pub(super) fn arm_keep_alive(&mut self, now: Instant) {
        if let Some(interval) = self.config.keep_alive {
            self.deadlines[Timer::KeepAlive] = Some(now + interval);
        }
    }

    /// Any byte of the peer counts as its response, which may be queued behind much data.
    pub(super) fn heard(&mut self, now: Instant) {
        if self.deadlines[Timer::Pong].take().is_some() {
            self.arm_keep_alive(now);
        }
    }

    /// Sends a ping and returns its value.
    pub(super) fn send_ping(&mut self, now: Instant) -> u32 {
        let value = self.pings.value;
        self.pings.value = value.wrapping_add(1);
        self.pings.outstanding = Some((value, now));
        let dead_at = now + self.config.keep_alive_timeout;
        self.deadlines[Timer::Pong].get_or_insert(dead_at);
        self.deadlines[Timer::KeepAlive] = None;
        self.push_frame(Header::ping(Flags::SYN, value));
        value
    }

    /// The response to a ping arrived. One that is not outstanding is ignored.
    pub(super) fn receive_pong(&mut self, now: Instant, value: u32) {
        let outstanding = &mut self.pings.outstanding;
        if let Some((_, sent)) = outstanding.take_if(|(outstanding, _)| *outstanding == value) {
            self.pings.acknowledged = Some((value, now.saturating_duration_since(sent)));
            self.events.push_back(Event::Pong);
        }
    }

    /// Sends a ping for the user, or joins the outstanding one. Returns its value. The timeout applies as to a regular
    /// ping.
    pub(crate) fn ping(&mut self, now: Instant) -> Result<u32, SessionError> {
        if let Some(error) = self.end_error() {
            return Err(error);
        }
        match self.pings.outstanding {
            Some((value, _)) => Ok(value),
            None => Ok(self.send_ping(now)),
        }
    }

    /// The round-trip time, once the ping with this value or a later one was acknowledged.
    pub(crate) fn poll_ping(&self, value: u32) -> Poll<Result<Duration, SessionError>> {
        if let Some((acknowledged, round_trip)) = self.pings.acknowledged
            && acknowledged.wrapping_sub(value) < u32::MAX / 2
        {
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
    use crate::config::{Config, Role};

    const SECOND: Duration = Duration::from_secs(1);

    /// A core with keep-alive at an interval.
    fn core(interval: Option<Duration>, now: Instant) -> Core {
        let config = Config::new()
            .keep_alive(interval)
            .keep_alive_timeout(10 * SECOND);
        Core::new(1, Role::Client, config, now)
    }

    /// The bytes that were queued since the last call.
    fn sent(core: &mut Core) -> Vec<u8> {
        let (front, back) = core.out.parts();
        let bytes = [front, back].concat();
        core.out.consume(bytes.len());
        bytes
    }

    /// The bytes that are sent at this time.
    fn sent_at(core: &mut Core, now: Instant) -> Vec<u8> {
        core.handle_timeout(now);
        sent(core)
    }

    fn ping(value: u32) -> Vec<u8> {
        Header::ping(Flags::SYN, value).encode().to_vec()
    }

    fn is_dead(core: &Core) -> bool {
        matches!(core.outcome(), Some(Err(SessionError::KeepAliveTimeout(_))))
    }

    #[test]
    fn pings_at_intervals_with_new_values() {
        let start = Instant::now();
        let mut core = core(Some(30 * SECOND), start);
        assert!(sent_at(&mut core, start + 29 * SECOND).is_empty());
        assert_eq!(sent_at(&mut core, start + 30 * SECOND), ping(0));
        assert!(sent_at(&mut core, start + 30 * SECOND).is_empty());
        core.heard(start + 31 * SECOND);
        core.receive_pong(start + 31 * SECOND, 0);
        assert_eq!(core.stats().rtt, Some(SECOND));
        assert_eq!(core.deadline(), Some(start + 61 * SECOND));
        assert_eq!(sent_at(&mut core, start + 61 * SECOND), ping(1));
    }

    #[test]
    fn silence_after_a_ping_is_death() {
        let start = Instant::now();
        let mut core = core(Some(30 * SECOND), start);
        assert_eq!(sent_at(&mut core, start + 30 * SECOND), ping(0));
        assert_eq!(core.deadline(), Some(start + 40 * SECOND));
        core.handle_timeout(start + 39 * SECOND);
        assert!(!is_dead(&core));
        core.handle_timeout(start + 40 * SECOND);
        assert!(is_dead(&core));
    }

    #[test]
    fn m24_any_sign_of_life_counts() {
        let start = Instant::now();
        let mut core = core(Some(30 * SECOND), start);
        assert_eq!(sent_at(&mut core, start + 30 * SECOND), ping(0));
        core.heard(start + 39 * SECOND);
        assert!(sent_at(&mut core, start + 45 * SECOND).is_empty());
        assert!(!is_dead(&core));
        // The response itself may come later still, and its round trip counts.
        core.receive_pong(start + 46 * SECOND, 0);
        assert_eq!(core.stats().rtt, Some(16 * SECOND));
    }

    #[test]
    fn a_response_with_another_value_is_ignored() {
        let start = Instant::now();
        let mut core = core(Some(30 * SECOND), start);
        assert_eq!(sent_at(&mut core, start + 30 * SECOND), ping(0));
        core.receive_pong(start + 31 * SECOND, 7);
        assert_eq!(core.next_event(), None);
        assert_eq!(core.stats().rtt, None);
    }

    #[test]
    fn pings_of_the_user_are_shared_and_measure() {
        let start = Instant::now();
        let mut core = core(Some(30 * SECOND), start);
        assert_eq!(core.ping(start).unwrap(), 0);
        assert_eq!(core.ping(start + SECOND).unwrap(), 0);
        assert_eq!(sent(&mut core), ping(0));
        assert!(core.poll_ping(0).is_pending());
        core.heard(start + 2 * SECOND);
        core.receive_pong(start + 2 * SECOND, 0);
        assert_eq!(core.next_event(), Some(Event::Pong));
        let Poll::Ready(Ok(round_trip)) = core.poll_ping(0) else {
            panic!("the ping was acknowledged");
        };
        assert_eq!(round_trip, 2 * SECOND);
        assert_eq!(core.deadline(), Some(start + 32 * SECOND));
        assert_eq!(core.ping(start + 3 * SECOND).unwrap(), 1);
        assert_eq!(sent(&mut core), ping(1));
        assert!(core.poll_ping(1).is_pending());
        core.receive_pong(start + 6 * SECOND, 1);
        let later = core.poll_ping(0);
        assert!(matches!(later, Poll::Ready(Ok(time)) if time == 3 * SECOND));
    }

    #[test]
    fn silence_after_a_ping_of_the_user_is_death_without_keep_alive_too() {
        let start = Instant::now();
        let mut silent = core(None, start);
        assert_eq!(silent.ping(start).unwrap(), 0);
        silent.handle_timeout(start + 10 * SECOND);
        assert!(is_dead(&silent));
        let mut alive = core(None, start);
        assert_eq!(alive.ping(start).unwrap(), 0);
        alive.heard(start + SECOND);
        assert_eq!(alive.deadline(), None);
    }

    #[test]
    fn can_be_turned_off() {
        let start = Instant::now();
        let mut core = core(None, start);
        assert_eq!(core.deadline(), None);
        assert!(sent_at(&mut core, start + 3600 * SECOND).is_empty());
    }
}
