//! Log lines that a peer causes: limited per cause, so that no peer can fill the log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use keyway_local::TokenBucket;

/// The lines of one cause that may follow each other at once.
const BURST: u32 = 10;

/// The time in which one more line of a cause may be written.
const INTERVAL: Duration = Duration::from_secs(5);

/// The lines of one cause.
#[derive(Debug)]
pub(crate) struct PeerLines(Mutex<TokenBucket>);

impl Default for PeerLines {
    fn default() -> Self {
        Self(Mutex::new(TokenBucket::with_interval(BURST, INTERVAL)))
    }
}

impl PeerLines {
    /// `None` if a line at `now` is to be left out, else how many were left out since the last one that was written, if any.
    #[expect(
        clippy::option_option,
        reason = "the inner one is the value of a field"
    )]
    pub(crate) fn next(&self, now: Instant) -> Option<Option<u64>> {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let n_left_out = bucket.take(now)?;
        Some((n_left_out > 0).then_some(n_left_out))
    }
}

/// Writes a line of these [`PeerLines`] as `tracing::event!` does, unless too many were written. The next one that is written has
/// the number of those that were left out in the field `left_out`.
macro_rules! peer_event {
    ($lines:expr, $level:ident, $($line:tt)+) => {
        if let Some(left_out) = $lines.next(::std::time::Instant::now()) {
            ::tracing::event!(::tracing::Level::$level, left_out, $($line)+);
        }
    };
}

pub(crate) use peer_event;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_events_in_a_minute_make_few_lines_that_count_the_others() {
        let (lines, start) = (PeerLines::default(), Instant::now());
        let events = (0..10_000).map(|n| start + Duration::from_millis(6 * n));
        let written: Vec<u64> = events
            .filter_map(|now| lines.next(now))
            .map(Option::unwrap_or_default)
            .collect();
        assert!((20..=22).contains(&written.len()), "{written:?}");
        assert_eq!(written[..10], [0; 10]);
        let n_left_out: u64 = written.iter().sum();
        assert!((9_000..10_000).contains(&n_left_out), "{n_left_out}");
    }
}
