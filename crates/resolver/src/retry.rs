//! When a query is worth another try: the rule for providers that are just being started.

use std::time::Duration;

use crate::{ProviderFailure, ResolveError, Secrets};

/// The longest time that is waited for another try.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// What is added to it: at that very moment the daemon may not have begun the start yet.
const MARGIN: Duration = Duration::from_millis(50);

/// Returns how long to wait before the query is sent once more: a little more than the largest `retry_after`, if every failed
/// provider gave one and none is longer than 2 s.
pub(crate) fn wait(result: &Result<Secrets, ResolveError>) -> Option<Duration> {
    let failures: &[ProviderFailure] = match result {
        Ok(secrets) => &secrets.failures,
        Err(error) => error.failures(),
    };
    let mut longest = None;
    for failure in failures {
        longest = longest.max(Some(failure.retry_after?));
    }
    longest
        .filter(|time| *time <= MAX_WAIT)
        .map(|time| time + MARGIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait_for(times: &[Option<u64>]) -> Option<u64> {
        let failures = times.iter().map(|millis| ProviderFailure {
            retry_after: millis.map(Duration::from_millis),
            ..ProviderFailure::default()
        });
        let error = ResolveError::Uncertain {
            message: String::new(),
            failures: failures.collect(),
        };
        let time = wait(&Err(error))?;
        Some(u64::try_from(time.as_millis()).unwrap())
    }

    #[test]
    fn the_largest_of_all_times_counts_up_to_two_seconds() {
        assert_eq!(wait_for(&[Some(300), Some(2000), Some(10)]), Some(2050));
        assert_eq!(wait_for(&[Some(300), Some(2001)]), None);
        assert_eq!(wait_for(&[Some(300), None]), None);
        assert_eq!(wait_for(&[]), None);
        let missing = ResolveError::NotFound {
            message: String::new(),
        };
        assert_eq!(wait(&Err(missing)), None);
        assert_eq!(wait(&Ok(Secrets::default())), None);
    }
}
