//! The delays between the starts of a plugin that ended unexpectedly.

use std::time::Duration;

/// The delays between the starts of a plugin that ended unexpectedly.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct RestartPolicy {
    /// The delay after the first failure (default: 0.5 s); each further failure doubles it.
    pub initial: Duration,
    /// The longest delay (default: 60 s).
    pub maximum: Duration,
    /// The random part of a delay, as a fraction of it, so that plugins that failed together do not start together (default:
    /// 0.25).
    pub jitter: f64,
    /// The time for which a plugin must run without a break for its earlier failures to be forgotten (default: 60 s).
    pub healthy_after: Duration,
    /// The consecutive failures after which the retries are exceeded (default: 10).
    pub max_failures: u32,
    /// The time between two attempts once the retries are exceeded (default: 5 min).
    pub attempt_every: Duration,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(500),
            maximum: Duration::from_secs(60),
            jitter: 0.25,
            healthy_after: Duration::from_secs(60),
            max_failures: 10,
            attempt_every: Duration::from_secs(300),
        }
    }
}
