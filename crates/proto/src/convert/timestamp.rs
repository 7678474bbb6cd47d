//! Times, and the protocol's form of a time that is not set.
//!
//! Peers written in Go send "not set" as their zero time, 0001-01-01T00:00:00Z, and read an absent timestamp as
//! 1970-01-01, that is as long expired. So "none" is always written as year 1, and both year 1 and an absent timestamp
//! are read as "none".

use std::time::SystemTime;

pub use prost_types::Timestamp;

/// The seconds of 0001-01-01T00:00:00Z, counted from 1970.
const YEAR_1: i64 = -62_135_596_800;

/// The seconds of 9999-12-31T23:59:59Z, the last time that protobuf and RFC 3339 can express.
const END_OF_9999: i64 = 253_402_300_799;

/// Converts a time; "none" becomes year 1.
pub fn to_wire(time: Option<SystemTime>) -> Timestamp {
    time.map_or(
        Timestamp {
            seconds: YEAR_1,
            nanos: 0,
        },
        Timestamp::from,
    )
}

/// Converts a timestamp; an absent one and year 1 become "none".
///
/// # Errors
///
/// Returns [`InvalidTimestamp`] if the timestamp is not valid, or this system cannot express its time.
pub fn from_wire(timestamp: Option<Timestamp>) -> Result<Option<SystemTime>, InvalidTimestamp> {
    match timestamp {
        None
        | Some(Timestamp {
            seconds: YEAR_1,
            nanos: 0,
        }) => Ok(None),
        Some(Timestamp { seconds, nanos }) => {
            let invalid = InvalidTimestamp { seconds, nanos };
            if !is_valid(&Timestamp { seconds, nanos }) {
                return Err(invalid);
            }
            SystemTime::try_from(Timestamp { seconds, nanos })
                .map(Some)
                .map_err(|_| invalid)
        }
    }
}

/// Returns the nearest time that every peer can read, because an invalid timestamp fails a whole message in JSON. A time
/// before year 1 becomes 1970, which has passed as well and does not mean "none". `None` if the timestamp is valid.
pub fn repaired(timestamp: &Timestamp) -> Option<Timestamp> {
    let (seconds, nanos) = match timestamp.seconds {
        _ if is_valid(timestamp) => return None,
        ..YEAR_1 => (0, 0),
        YEAR_1..=END_OF_9999 => (timestamp.seconds, timestamp.nanos.clamp(0, 999_999_999)),
        _ => (END_OF_9999, 0),
    };
    Some(Timestamp { seconds, nanos })
}

/// Returns `true` if the time is in the years 1 to 9999, as protobuf demands.
fn is_valid(timestamp: &Timestamp) -> bool {
    (YEAR_1..=END_OF_9999).contains(&timestamp.seconds)
        && (0..1_000_000_000).contains(&timestamp.nanos)
}

/// A timestamp without a valid time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{seconds} seconds and {nanos} nanoseconds are not a valid time")]
#[non_exhaustive]
pub struct InvalidTimestamp {
    /// The seconds as received.
    pub seconds: i64,
    /// The nanoseconds as received.
    pub nanos: i32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn none_is_written_as_year_1_and_read_from_year_1_and_absence() {
        let none = to_wire(None);
        assert_eq!(none.to_string(), "0001-01-01T00:00:00Z");
        assert_eq!(from_wire(Some(none)), Ok(None));
        assert_eq!(from_wire(None), Ok(None));
    }

    #[test]
    fn times_round_trip() {
        for time in [
            UNIX_EPOCH,
            UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789),
            UNIX_EPOCH - Duration::new(5, 1),
        ] {
            assert_eq!(from_wire(Some(to_wire(Some(time)))), Ok(Some(time)));
        }
    }

    #[test]
    fn the_epoch_does_not_mean_none() {
        assert_eq!(
            from_wire(Some(Timestamp {
                seconds: 0,
                nanos: 0
            })),
            Ok(Some(UNIX_EPOCH))
        );
    }

    #[test]
    fn invalid_nanoseconds_are_refused() {
        for (seconds, nanos) in [(0, -1), (0, 1_000_000_000), (1, i32::MAX)] {
            let read = from_wire(Some(Timestamp { seconds, nanos }));
            assert_eq!(read, Err(InvalidTimestamp { seconds, nanos }));
        }
    }

    #[test]
    fn times_that_json_cannot_express_are_refused() {
        for seconds in [i64::MAX, i64::MIN, YEAR_1 - 1, END_OF_9999 + 1] {
            let nanos = 999_999_999;
            let read = from_wire(Some(Timestamp { seconds, nanos }));
            assert_eq!(read, Err(InvalidTimestamp { seconds, nanos }));
        }
    }

    #[test]
    fn invalid_timestamps_become_the_nearest_time() {
        let time = |seconds, nanos| Timestamp { seconds, nanos };
        for (wrong, near) in [
            (time(1 << 60, -5), time(END_OF_9999, 0)),
            (time(END_OF_9999 + 1, 7), time(END_OF_9999, 0)),
            (time(i64::MIN, 0), time(0, 0)),
            (time(5, -1), time(5, 0)),
            (time(5, i32::MAX), time(5, 999_999_999)),
        ] {
            assert_eq!(repaired(&wrong), Some(near));
            assert!(from_wire(Some(near)).is_ok(), "{near:?}");
        }
        for right in [time(YEAR_1, 0), time(0, 0), time(END_OF_9999, 999_999_999)] {
            assert_eq!(repaired(&right), None);
        }
    }
}
