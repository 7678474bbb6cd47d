//! The rule for repeating a query whose failed providers are starting.

use std::time::Duration;

use crate::{ProviderFailure, ResolveError, Secrets};

/// Longest `retry_after` that is waited for.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// Added to `retry_after`, because at exactly that time the daemon may not have begun the start.
const MARGIN: Duration = Duration::from_millis(50);

/// Returns the wait before the query is repeated: the largest `retry_after` plus [`MARGIN`], if every failed provider gave
/// one and none exceeds [`MAX_WAIT`].
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
    fn the_largest_retry_after_is_waited_for_up_to_two_seconds() {
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
