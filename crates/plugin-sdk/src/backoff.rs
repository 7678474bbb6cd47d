//! The delay before the next attempt to reach the daemon.

use std::time::Duration;

use keyway_local::doubled;

/// Exponential backoff with jitter: delays double from one attempt to the next, up to a limit.
///
/// Each delay is shortened at random, so that many plugins that lost one daemon do not all reconnect at once.
///
/// ```
/// use std::time::Duration;
/// use keyway_plugin_sdk::Backoff;
///
/// let backoff = Backoff::default().longest(Duration::from_secs(5));
/// ```
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
}

impl Default for Backoff {
    /// Delays from about 250 ms up to 30 s.
    fn default() -> Self {
        Self {
            first: Duration::from_millis(250),
            longest: Duration::from_secs(30),
        }
    }
}

impl Backoff {
    /// Sets the delay before the first new attempt; it is shortened at random by up to a half. Default: 250 ms.
    #[must_use]
    pub fn first(mut self, delay: Duration) -> Self {
        self.first = delay;
        self
    }

    /// Sets the longest delay, which is shortened at random as well. Default: 30 s.
    #[must_use]
    pub fn longest(mut self, delay: Duration) -> Self {
        self.longest = delay;
        self
    }

    /// Returns the delay before attempt `attempt`, counted from zero since the last success. `random` is any number.
    pub(crate) fn delay(&self, attempt: u32, random: u64) -> Duration {
        let delay = doubled(self.first, attempt, self.longest);
        // In 1024ths: between a half and all of it.
        let jitter = 512 + u32::try_from(random % 512).unwrap_or_default();
        delay.saturating_mul(jitter) / 1024
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn delays_stay_in_their_range(attempt in any::<u32>(), random in any::<u64>()) {
            let backoff = Backoff::default();
            let delay = backoff.delay(attempt, random);
            prop_assert!(delay >= backoff.first / 2);
            prop_assert!(delay <= backoff.longest);
        }

        #[test]
        fn delays_grow(attempt in 0_u32..40, random in any::<u64>()) {
            let backoff = Backoff::default();
            prop_assert!(backoff.delay(attempt, random) <= backoff.delay(attempt + 1, random));
        }
    }
}
