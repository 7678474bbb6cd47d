//! Delays that double from one attempt to the next.

use std::time::Duration;

/// The first pause before a full queue is tried again.
const FIRST_PAUSE: Duration = Duration::from_millis(1);

/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Returns `first`, doubled `n` times, and at most `longest`.
///
/// ```
/// use keyway_local::doubled;
/// use std::time::Duration;
///
/// let (first, longest) = (Duration::from_millis(500), Duration::from_secs(60));
/// assert_eq!(doubled(first, 3, longest), Duration::from_secs(4));
/// assert_eq!(doubled(first, u32::MAX, longest), longest);
/// ```
#[must_use]
pub fn doubled(first: Duration, n: u32, longest: Duration) -> Duration {
    let factor = 1_u32.checked_shl(n).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(longest)
}

/// Pauses between attempts, each twice the one before.
///
/// The default ones, from 1 to 100 ms, are for a listener whose queue is full.
///
/// ```
/// use keyway_local::Pauses;
/// use std::time::Duration;
///
/// let pauses: Vec<_> = Pauses::new().take(3).map(|pause| pause.as_millis()).collect();
/// assert_eq!(pauses, [1, 2, 4]);
/// assert_eq!(Pauses::new().nth(20), Some(Duration::from_millis(100)));
/// ```
#[derive(Debug, Clone)]
pub struct Pauses {
    next: Duration,
    longest: Duration,
}

impl Pauses {
    /// Returns the pauses from 1 to 100 ms.
    #[must_use]
    pub fn new() -> Self {
        Self::between(FIRST_PAUSE, LONGEST_PAUSE)
    }

    /// Returns the pauses from `first` to `longest`.
    #[must_use]
    pub fn between(first: Duration, longest: Duration) -> Self {
        Self {
            next: first,
            longest,
        }
    }
}

impl Default for Pauses {
    fn default() -> Self {
        Self::new()
    }
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.next.min(self.longest);
        self.next = doubled(pause, 1, self.longest);
        Some(pause)
    }
}
