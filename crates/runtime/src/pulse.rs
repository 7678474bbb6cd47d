//! Noticing that the daemon itself did not run for a while, as in a suspended container: what ends then has not failed.

use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The time between two beats. A beat costs one wake-up.
const PERIOD: Duration = Duration::from_secs(10);

/// How late a beat may be on a busy machine.
const TOLERANCE: Duration = Duration::from_secs(5);

/// How long after a pause its consequences are noticed at the latest: connections that ended meanwhile, deadlines that passed.
const AFTERMATH: Duration = Duration::from_secs(10);

/// Beats regularly while the daemon runs.
#[derive(Debug)]
pub(crate) struct Pulse(Mutex<Beats>);

#[derive(Debug)]
struct Beats {
    last: Instant,
    /// The last beat before the latest pause, and the first one after it.
    pause: Option<(Instant, Instant)>,
}

impl Pulse {
    /// A daemon that runs since now.
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Beats {
            last: Instant::now(),
            pause: None,
        }))
    }

    /// Since when the daemon did not run, if it has just gone on.
    pub(crate) fn pause(&self, now: Instant) -> Option<Instant> {
        let mut beats = self.lock();
        // What ended in the pause may be noticed before the beat that was due in it.
        beats.note(now);
        let (began, ended) = beats.pause?;
        (now.saturating_duration_since(ended) <= AFTERMATH).then_some(began)
    }

    /// Beats; never resolves.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(crate) async fn beat(&self) -> Infallible {
        loop {
            tokio::time::sleep(PERIOD).await;
            let now = Instant::now();
            let mut beats = self.lock();
            beats.note(now);
            beats.last = now;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Beats> {
        // Every change is complete when a panic could happen.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Beats {
    /// Notes a pause if the next beat is overdue.
    fn note(&mut self, now: Instant) {
        if now.saturating_duration_since(self.last) > PERIOD + TOLERANCE {
            self.pause = Some((self.last, now));
            self.last = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_beat_is_a_pause_for_a_while() {
        let pulse = Pulse::new();
        let start = pulse.lock().last;
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(pulse.pause(at(15)), None);
        assert_eq!(pulse.pause(at(60)), Some(start), "noticed without a beat");
        assert_eq!(pulse.pause(at(70)), Some(start));
        assert_eq!(pulse.pause(at(71)), None);
    }

    #[test]
    fn regular_beats_are_no_pause() {
        let pulse = Pulse::new();
        let start = pulse.lock().last;
        for n in 1..100 {
            let now = start + PERIOD * n + TOLERANCE;
            assert_eq!(pulse.pause(now), None);
            pulse.lock().last = start + PERIOD * n;
        }
    }
}
