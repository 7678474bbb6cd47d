//! Detects without I/O whether the daemon that a call waits for is alive.
//!
//! ```text
//!           2 s without a byte             a response
//! waiting ----------------------> probing ------------> waiting, next probe after 5 s
//!    ^                              |  |
//!    |  a byte of the call's        |  | no response within 3 s
//!    +------------------------------+  +----------------------------> unresponsive
//!                                   |  an error
//!                                   +------------> waiting, next probe after 1 s; after 8 s of errors: unresponsive
//! ```

use std::time::Duration;

use tokio::time::Instant;

/// The time for which a call may be silent before the first probe.
const SILENCE: Duration = Duration::from_secs(2);

/// The delay after a successful probe.
const INTERVAL: Duration = Duration::from_secs(5);

/// The delay after a probe that failed.
const RETRY: Duration = Duration::from_secs(1);

/// Limit for one probe.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// The time for which probes may fail at once. A daemon that stops no longer listens while it finishes its requests, which takes at
/// most 8 s, and this process may be short of descriptors.
const FAILING: Duration = Duration::from_secs(8);

/// The outcome of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probed {
    /// A response of any kind arrived.
    Responded,
    /// No response came within [`PROBE_TIMEOUT`].
    TimedOut,
    /// There was no connection, or it ended without a response.
    Failed,
}

/// Decides when to probe the daemon that a call waits for, and when to abandon the call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Liveness {
    due: Instant,
    failing_since: Option<Instant>,
}

impl Liveness {
    /// Starts at the beginning of the call.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            due: now + SILENCE,
            failing_since: None,
        }
    }

    /// Returns the time of the next probe.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Takes the outcome of a probe. Returns `false` if the daemon counts as unresponsive.
    pub(super) fn probed(&mut self, outcome: Probed, now: Instant) -> bool {
        match outcome {
            Probed::Responded => {
                self.failing_since = None;
                self.due = now + INTERVAL;
                true
            }
            Probed::TimedOut => false,
            Probed::Failed => {
                let since = *self.failing_since.get_or_insert(now);
                self.due = now + RETRY;
                now < since + FAILING
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn a_silent_call_is_probed_after_2_s_and_then_every_5_s() {
        let start = Instant::now();
        let mut liveness = Liveness::new(start);
        assert_eq!(liveness.due(), start + seconds(2));
        assert!(liveness.probed(Probed::Responded, start + seconds(3)));
        assert_eq!(liveness.due(), start + seconds(8));
        assert!(!liveness.probed(Probed::TimedOut, start + seconds(11)));
    }

    #[test]
    fn probes_may_fail_for_8_s_in_a_row() {
        let start = Instant::now();
        let mut liveness = Liveness::new(start);
        for second in 2..10 {
            assert!(
                liveness.probed(Probed::Failed, start + seconds(second)),
                "{second}"
            );
            assert_eq!(liveness.due(), start + seconds(second + 1));
        }
        let mut recovered = liveness;
        assert!(!liveness.probed(Probed::Failed, start + seconds(10)));
        assert!(recovered.probed(Probed::Responded, start + seconds(10)));
        assert!(recovered.probed(Probed::Failed, start + seconds(15)));
    }
}
