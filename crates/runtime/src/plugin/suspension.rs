//! Detects that the daemon itself was suspended, as by SIGSTOP or in a frozen container: a plugin that ended because of that has not
//! failed.

use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The time between two ticks. A tick costs one wake-up.
const PERIOD: Duration = Duration::from_secs(10);

/// Limit for the delay of a tick on a busy machine.
const TOLERANCE: Duration = Duration::from_secs(5);

/// The time after a suspension in which its consequences are noticed: connections that ended meanwhile, deadlines that passed.
const AFTERMATH: Duration = Duration::from_secs(10);

/// The latest suspension of the daemon, which is a tick that came much too late.
#[derive(Debug)]
pub(crate) struct Suspensions(Mutex<Ticks>);

#[derive(Debug)]
struct Ticks {
    last: Instant,
    /// The first time after the latest suspension.
    resumed_at: Option<Instant>,
}

impl Suspensions {
    /// Creates a value without suspensions; the daemon runs since now.
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Ticks {
            last: Instant::now(),
            resumed_at: None,
        }))
    }

    /// Returns when the daemon resumed, if it was suspended and that has just ended.
    pub(crate) fn just_ended(&self, now: Instant) -> Option<Instant> {
        let mut ticks = self.lock();
        // A consequence may be noticed before the tick that was due during the suspension.
        ticks.check(now);
        let resumed_at = ticks.resumed_at?;
        (now.saturating_duration_since(resumed_at) <= AFTERMATH).then_some(resumed_at)
    }

    /// Ticks; never resolves.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(crate) async fn watch(&self) -> Infallible {
        loop {
            tokio::time::sleep(PERIOD).await;
            let now = Instant::now();
            let mut ticks = self.lock();
            ticks.check(now);
            ticks.last = now;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ticks> {
        // Every change is complete when a panic could happen.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticks {
    /// Records a suspension if the next tick is overdue.
    fn check(&mut self, now: Instant) {
        if now.saturating_duration_since(self.last) > PERIOD + TOLERANCE {
            self.resumed_at = Some(now);
            self.last = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_tick_is_a_suspension_for_a_while() {
        let suspensions = Suspensions::new();
        let start = suspensions.lock().last;
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(suspensions.just_ended(at(15)), None);
        assert_eq!(
            suspensions.just_ended(at(60)),
            Some(at(60)),
            "noticed without a tick"
        );
        assert_eq!(suspensions.just_ended(at(70)), Some(at(60)));
        assert_eq!(suspensions.just_ended(at(71)), None);
    }

    #[test]
    fn regular_ticks_are_not_a_suspension() {
        let suspensions = Suspensions::new();
        let start = suspensions.lock().last;
        for n in 1..100 {
            let now = start + PERIOD * n + TOLERANCE;
            assert_eq!(suspensions.just_ended(now), None);
            suspensions.lock().last = start + PERIOD * n;
        }
    }
}
