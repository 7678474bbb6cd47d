//! The pause before the next start of a plugin that failed.

use std::time::{Duration, Instant};

use keyway_local::doubled;

pub(super) use crate::config::RestartPolicy;

/// The consecutive failures of one plugin.
#[derive(Debug)]
pub(super) struct Retry {
    policy: RestartPolicy,
    random: u64,
    n_failures: u32,
}

/// The consequence of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The next start is at this time.
    Backoff(Instant),
    /// The retries are exceeded; the next attempt is at this time.
    Exceeded(Instant),
}

impl Retry {
    /// Creates a state without failures. `seed` decides the random part of the delays.
    pub(super) fn new(policy: RestartPolicy, seed: u64) -> Self {
        // The generator below stays at zero if it starts there.
        Self {
            policy,
            random: seed | 1,
            n_failures: 0,
        }
    }

    /// Forgets all failures.
    pub(super) fn reset(&mut self) {
        self.n_failures = 0;
    }

    /// Notes how long the plugin ran before it ended.
    pub(super) fn ran_for(&mut self, time: Duration) {
        if time >= self.policy.healthy_after {
            self.reset();
        }
    }

    /// Records a failure and returns its consequence.
    pub(super) fn failed(&mut self, now: Instant) -> Verdict {
        self.n_failures = self.n_failures.saturating_add(1);
        if self.n_failures >= self.policy.max_failures {
            return Verdict::Exceeded(now + self.policy.attempt_every);
        }
        let delay = doubled(
            self.policy.initial,
            self.n_failures - 1,
            self.policy.maximum,
        );
        Verdict::Backoff(now + delay.mul_f64(1.0 + self.policy.jitter * self.fraction()))
    }

    /// Returns a number from 0 to 1 of a xorshift generator.
    fn fraction(&mut self) -> f64 {
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
        fn delays_double_up_to_the_maximum_and_then_attempts_are_rare(seed: u64, n_failures in 1_u32..30) {
            let policy = RestartPolicy::default();
            let mut retry = Retry::new(policy, seed);
            let now = Instant::now();
            for n in 1..=n_failures {
                match retry.failed(now) {
                    Verdict::Backoff(at) => {
                        let plain = policy.initial.saturating_mul(1 << (n - 1)).min(policy.maximum);
                        let delay = at - now;
                        prop_assert!(n < policy.max_failures);
                        prop_assert!(delay >= plain && delay <= plain.mul_f64(1.0 + policy.jitter), "{delay:?} after {n}");
                    }
                    Verdict::Exceeded(at) => {
                        prop_assert!(n >= policy.max_failures);
                        prop_assert_eq!(at - now, policy.attempt_every);
                    }
                }
            }
        }
    }

    #[test]
    fn a_healthy_minute_resets_the_failure_count() {
        let policy = RestartPolicy {
            jitter: 0.0,
            ..RestartPolicy::default()
        };
        let mut retry = Retry::new(policy, 1);
        let now = Instant::now();
        for _ in 0..5 {
            retry.failed(now);
        }
        retry.ran_for(Duration::from_secs(59));
        assert_eq!(
            retry.failed(now),
            Verdict::Backoff(now + policy.initial * 32)
        );
        retry.ran_for(Duration::from_secs(60));
        assert_eq!(retry.failed(now), Verdict::Backoff(now + policy.initial));
    }
}
