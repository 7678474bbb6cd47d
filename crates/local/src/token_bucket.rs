//! A limit on how often something happens, for log lines that a peer causes.

use std::time::{Duration, Instant};

/// Limits the rate of one kind of event, and counts the events that exceed it.
///
/// The bucket holds up to `burst` tokens and is full at first. Each event takes one, and one comes back every
/// 1 / `per_second`. The time is an argument: the bucket reads no clock.
///
/// ```
/// use keyway_local::TokenBucket;
/// use std::time::{Duration, Instant};
///
/// let mut lines = TokenBucket::new(2, 10);
/// let now = Instant::now();
/// assert_eq!(lines.take(now), Some(0));
/// assert_eq!(lines.take(now), Some(0));
/// assert_eq!(lines.take(now), None);
/// // The next event that passes says how many were left out.
/// assert_eq!(lines.take(now + Duration::from_millis(100)), Some(1));
/// ```
#[derive(Debug, Clone)]
pub struct TokenBucket {
    /// The time in which one token comes back.
    interval: Duration,
    /// The time in which an empty bucket is filled, less that of one token.
    tolerance: Duration,
    /// The time when the bucket is full again; `None` if no token was ever taken.
    full_at: Option<Instant>,
    n_left_out: u64,
}

impl TokenBucket {
    /// Returns a full bucket of `burst` tokens, to which `per_second` tokens a second come back. Zero counts as one.
    #[must_use]
    pub const fn new(burst: u32, per_second: u32) -> Self {
        let per_second = if per_second == 0 { 1 } else { per_second };
        Self::with_interval(
            burst,
            Duration::from_nanos(1_000_000_000 / per_second as u64),
        )
    }

    /// Returns a full bucket of `burst` tokens, to which one comes back after each `interval`.
    #[must_use]
    pub const fn with_interval(burst: u32, interval: Duration) -> Self {
        Self {
            interval,
            tolerance: interval.saturating_mul(burst.saturating_sub(1)),
            full_at: None,
            n_left_out: 0,
        }
    }

    /// Takes a token for an event at `now`. Returns how many events were left out since the last one that passed, or `None` if
    /// there is no token and the event is to be left out, too.
    #[must_use]
    pub fn take(&mut self, now: Instant) -> Option<u64> {
        self.take_many(1, now)
    }

    /// As [`take`](Self::take), for an event that needs `n_tokens`. It passes once there is one token, and the next event waits
    /// for the others.
    #[must_use]
    pub fn take_many(&mut self, n_tokens: u32, now: Instant) -> Option<u64> {
        let full_at = self.full_at.unwrap_or(now).max(now);
        if full_at.saturating_duration_since(now) > self.tolerance {
            self.n_left_out = self.n_left_out.saturating_add(1);
            return None;
        }
        self.full_at = Some(full_at + self.interval.saturating_mul(n_tokens));
        Some(self.take_left_out())
    }

    /// Returns how many events were left out since the last one that passed, and forgets them: for a last line.
    #[must_use]
    pub fn take_left_out(&mut self) -> u64 {
        std::mem::take(&mut self.n_left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let mut bucket = TokenBucket::new(100, 100);
        let start = Instant::now();
        let passed = (0..10_000)
            .map(|n| start + Duration::from_millis(n))
            .filter(|at| bucket.take(*at).is_some());
        // 10 s at 100 a second, and the burst.
        assert_eq!(passed.count(), 1099);
    }

    #[test]
    fn an_event_that_needs_many_tokens_passes_as_often_as_they_come_back() {
        let mut bucket = TokenBucket::new(10, 100);
        let start = Instant::now();
        let passed = (0..10_000)
            .map(|n| start + Duration::from_millis(n))
            .filter(|at| bucket.take_many(20, *at).is_some());
        assert_eq!(passed.count(), 51);
    }

    #[test]
    fn every_event_is_passed_or_counted_once() {
        let mut bucket = TokenBucket::new(3, 10);
        let start = Instant::now();
        let (mut n_passed, mut n_left_out) = (0, 0);
        for n in 0..1000 {
            if let Some(left_out) = bucket.take(start + Duration::from_millis(n)) {
                n_passed += 1;
                n_left_out += left_out;
            }
        }
        assert_eq!(n_passed, 12);
        assert_eq!(n_passed + n_left_out + bucket.take_left_out(), 1000);
        assert_eq!(bucket.take_left_out(), 0);
    }

    #[test]
    fn a_time_that_goes_back_gives_no_tokens() {
        let mut bucket = TokenBucket::new(1, 1);
        let start = Instant::now() + Duration::from_secs(1000);
        assert_eq!(bucket.take(start), Some(0));
        assert_eq!(bucket.take(start - Duration::from_secs(900)), None);
        assert_eq!(bucket.take(start + Duration::from_secs(1)), Some(1));
    }

    #[test]
    fn a_bucket_of_nothing_passes_one_event_a_second() {
        let mut bucket = TokenBucket::new(0, 0);
        let start = Instant::now();
        assert_eq!(bucket.take(start), Some(0));
        assert_eq!(bucket.take(start + Duration::from_millis(999)), None);
        assert_eq!(bucket.take(start + Duration::from_secs(1)), Some(1));
    }
}
