//! How long to wait before the next start, and when to stop trying.

use std::time::{Duration, Instant};

/// When a plugin that ended unasked is started again.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct RestartPolicy {
    /// The delay after the first failure, and the least time between two restarts because of changes on disk or of the
    /// configuration (default: 2 s).
    pub initial: Duration,
    /// The longest delay (default: 30 s).
    pub maximum: Duration,
    /// By how much a delay may be longer, so that plugins that failed together do not start together; a fraction of the delay
    /// (default: 0.25).
    pub jitter: f64,
    /// How long a plugin must run for its earlier failures to be forgotten (default: 60 s). Less would let a plugin that
    /// always crashes after its registration be restarted for ever.
    pub healthy_after: Duration,
    /// Give up when the first failure is this long ago (default: 2 min) ...
    pub give_up_after: Duration,
    /// ... or after this many failures in a row, whichever comes first (default: no limit).
    pub max_failures: Option<u32>,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(2),
            maximum: Duration::from_secs(30),
            jitter: 0.25,
            healthy_after: Duration::from_secs(60),
            give_up_after: Duration::from_secs(120),
            max_failures: None,
        }
    }
}

/// The failures of one plugin since it last ran well.
#[derive(Debug)]
pub(super) struct Backoff {
    policy: RestartPolicy,
    random: u64,
    n_failures: u32,
    first_failure: Option<Instant>,
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    RetryAfter(Duration),
    GiveUp,
}

impl Backoff {
    pub(super) fn new(policy: RestartPolicy, seed: u64) -> Self {
        // The generator below stays at zero for ever when it starts there.
        Self {
            policy,
            random: seed | 1,
            n_failures: 0,
            first_failure: None,
        }
    }

    /// The shortest delay.
    pub(super) fn initial(&self) -> Duration {
        self.policy.initial
    }

    /// Forgets all failures, because a person asked for another try.
    pub(super) fn forgive(&mut self) {
        self.n_failures = 0;
        self.first_failure = None;
    }

    /// Notes how long the plugin was registered before it ended.
    pub(super) fn ran_for(&mut self, duration: Duration) {
        if duration >= self.policy.healthy_after {
            self.forgive();
        }
    }

    /// Notes a failure.
    pub(super) fn failed(&mut self, now: Instant) {
        self.n_failures += 1;
        self.first_failure.get_or_insert(now);
    }

    /// What to do after the failures so far.
    pub(super) fn next(&mut self, now: Instant) -> Verdict {
        let since_first = self
            .first_failure
            .map_or(Duration::ZERO, |first| now.saturating_duration_since(first));
        let too_many = self
            .policy
            .max_failures
            .is_some_and(|maximum| self.n_failures >= maximum);
        if too_many || since_first >= self.policy.give_up_after {
            return Verdict::GiveUp;
        }
        let doublings = self.n_failures.saturating_sub(1).min(16);
        let delay = self
            .policy
            .initial
            .saturating_mul(1 << doublings)
            .min(self.policy.maximum);
        let fraction = self.next_fraction();
        Verdict::RetryAfter(delay + delay.mul_f64(self.policy.jitter * fraction))
    }

    /// A number in `0.0..1.0` (xorshift; spreading starts needs no better randomness).
    fn next_fraction(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn delays_stay_within_their_bounds(seed: u64, n_failures in 1_u32..100) {
            let policy = RestartPolicy { give_up_after: Duration::MAX, ..RestartPolicy::default() };
            let mut backoff = Backoff::new(policy, seed);
            let now = Instant::now();
            for n in 1..=n_failures {
                backoff.failed(now);
                let Verdict::RetryAfter(delay) = backoff.next(now) else { panic!("gave up") };
                let plain = policy.initial.saturating_mul(1 << (n - 1).min(16)).min(policy.maximum);
                prop_assert!(delay >= plain && delay <= plain.mul_f64(1.0 + policy.jitter), "{delay:?} after {n}");
            }
        }
    }

    #[test]
    fn the_number_of_tries_is_a_limit_too() {
        let policy = RestartPolicy {
            max_failures: Some(2),
            ..RestartPolicy::default()
        };
        let mut backoff = Backoff::new(policy, 1);
        let now = Instant::now();
        backoff.failed(now);
        assert!(matches!(backoff.next(now), Verdict::RetryAfter(_)));
        backoff.failed(now);
        assert_eq!(backoff.next(now), Verdict::GiveUp);
    }
}
