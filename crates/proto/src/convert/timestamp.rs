//! The protocol's rule for times that are not set.
//!
//! Peers written in Go send "not set" as their zero time, 0001-01-01T00:00:00Z, and read an absent timestamp as
//! 1970-01-01, that is as long expired. So "none" is always written as year 1, and both year 1 and an absent timestamp
//! are read as "none".

use std::time::SystemTime;

use prost_types::Timestamp;

/// The seconds of 0001-01-01T00:00:00Z, counted from 1970.
const YEAR_1: i64 = -62_135_596_800;

/// Writes a time; "none" becomes year 1.
pub fn to_wire(time: Option<SystemTime>) -> Timestamp {
    time.map_or(
        Timestamp {
            seconds: YEAR_1,
            nanos: 0,
        },
        Timestamp::from,
    )
}

/// Reads a time; an absent one and year 1 become "none".
///
/// # Errors
///
/// The timestamp is not a valid one, or names a time that this system cannot express.
pub fn from_wire(timestamp: Option<Timestamp>) -> Result<Option<SystemTime>, InvalidTimestamp> {
    match timestamp {
        None
        | Some(Timestamp {
            seconds: YEAR_1,
            nanos: 0,
        }) => Ok(None),
        Some(Timestamp { seconds, nanos }) => {
            let invalid = InvalidTimestamp { seconds, nanos };
            if !(0..1_000_000_000).contains(&nanos) {
                return Err(invalid);
            }
            SystemTime::try_from(Timestamp { seconds, nanos })
                .map(Some)
                .map_err(|_| invalid)
        }
    }
}

/// A timestamp that means no time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{seconds} seconds and {nanos} nanoseconds are not a valid time")]
#[non_exhaustive]
pub struct InvalidTimestamp {
    /// As received.
    pub seconds: i64,
    /// As received.
    pub nanos: i32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn none_is_written_as_year_1_and_read_from_year_1_and_from_nothing() {
        let none = to_wire(None);
        assert_eq!(none.to_string(), "0001-01-01T00:00:00Z");
        assert_eq!(from_wire(Some(none)), Ok(None));
        assert_eq!(from_wire(None), Ok(None));
    }

    #[test]
    fn times_survive_the_wire() {
        for time in [
            UNIX_EPOCH,
            UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789),
            UNIX_EPOCH - Duration::new(5, 1),
        ] {
            assert_eq!(from_wire(Some(to_wire(Some(time)))), Ok(Some(time)));
        }
    }

    #[test]
    fn the_epoch_is_a_time_like_any_other() {
        assert_eq!(
            from_wire(Some(Timestamp {
                seconds: 0,
                nanos: 0
            })),
            Ok(Some(UNIX_EPOCH))
        );
    }

    #[test]
    fn impossible_times_are_refused() {
        for (seconds, nanos) in [(0, -1), (0, 1_000_000_000), (1, i32::MAX)] {
            let read = from_wire(Some(Timestamp { seconds, nanos }));
            assert_eq!(read, Err(InvalidTimestamp { seconds, nanos }));
        }
    }

    #[test]
    fn times_too_far_away_for_the_system_are_errors_and_never_panic() {
        for seconds in [i64::MAX, i64::MIN] {
            let read = from_wire(Some(Timestamp {
                seconds,
                nanos: 999_999_999,
            }));
            assert!(
                matches!(read, Err(InvalidTimestamp { .. }) | Ok(Some(_))),
                "{read:?}"
            );
        }
    }
}
