//! Bounded waits for conditions without an event. Where an event exists (a line, a frame, a permit), a test waits for the
//! event instead.

use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant};

/// The bound of a wait for an effect that is immediate on an idle machine. A busy machine may take seconds.
pub const WAIT_LIMIT: Duration = Duration::from_secs(20);

/// The time between two looks at a condition.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Calls `condition` until it returns `Ok`, and returns the value. `what` names the condition.
///
/// # Panics
///
/// After [`WAIT_LIMIT`], with the last `Err`.
#[track_caller]
pub fn eventually<T, E: Debug>(what: &str, condition: impl FnMut() -> Result<T, E>) -> T {
    eventually_within(WAIT_LIMIT, what, condition)
}

/// As [`eventually`], with another limit.
///
/// # Panics
///
/// After `limit`, with the last `Err`.
#[track_caller]
pub fn eventually_within<T, E: Debug>(
    limit: Duration,
    what: &str,
    mut condition: impl FnMut() -> Result<T, E>,
) -> T {
    let start = Instant::now();
    loop {
        match condition() {
            Ok(value) => return value,
            Err(last) => assert!(
                start.elapsed() < limit,
                "waited {limit:?} for {what}: {last:?}"
            ),
        }
        #[expect(clippy::disallowed_methods, reason = "the one place where tests poll")]
        thread::sleep(POLL_INTERVAL);
    }
}

/// Waits until `condition` holds. `what` names it.
///
/// # Panics
///
/// After [`WAIT_LIMIT`].
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    eventually(what, || condition().then_some(()).ok_or("it does not hold"));
}

/// The same waits in async tests: other tasks of the test's runtime run meanwhile.
#[cfg(feature = "async")]
pub mod asynchronous {
    use std::fmt::Debug;

    use tokio::time::{Instant, sleep};

    use super::{POLL_INTERVAL, WAIT_LIMIT};

    /// Calls `condition` until it returns `Ok`, and returns the value. `what` names the condition.
    ///
    /// # Panics
    ///
    /// After [`WAIT_LIMIT`], with the last `Err`.
    pub async fn eventually<T, E: Debug>(
        what: &str,
        mut condition: impl AsyncFnMut() -> Result<T, E>,
    ) -> T {
        let start = Instant::now();
        loop {
            match condition().await {
                Ok(value) => return value,
                Err(last) => assert!(
                    start.elapsed() < WAIT_LIMIT,
                    "waited {WAIT_LIMIT:?} for {what}: {last:?}"
                ),
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits until `condition` holds. `what` names it.
    ///
    /// # Panics
    ///
    /// After [`WAIT_LIMIT`].
    pub async fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
        eventually(what, async || {
            condition().then_some(()).ok_or("it does not hold")
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_returns_the_first_value() {
        let mut n_calls = 0;
        let value = eventually("three calls", || {
            n_calls += 1;
            if n_calls < 3 {
                Err(n_calls)
            } else {
                Ok(n_calls)
            }
        });
        assert_eq!(value, 3);
    }

    #[test]
    #[should_panic(expected = "waited 1ns for a miracle: \"none yet\"")]
    fn a_wait_that_ends_names_the_condition_and_the_last_state() {
        eventually_within(Duration::from_nanos(1), "a miracle", || {
            Err::<(), _>("none yet")
        });
    }

    #[cfg(feature = "async")]
    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "waited 20s for a miracle: \"none yet\"")]
    async fn an_async_wait_is_bounded_too() {
        asynchronous::eventually("a miracle", async || Err::<(), _>("none yet")).await;
    }
}
