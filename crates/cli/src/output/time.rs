//! Formats points in time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last second of the year 9999, which is the last year of RFC 3339.
const LAST: Duration = Duration::from_secs(253_402_300_799);

/// Formats a time in UTC as in RFC 3339, to the second: `2026-11-22T18:00:00Z`. A time before 1970 or after 9999, which only a wrong
/// clock has, becomes the nearest one within.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    let time = time.clamp(UNIX_EPOCH, UNIX_EPOCH + LAST);
    humantime::format_rfc3339_seconds(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_utc_and_within_the_years_of_the_format() {
        let after = |seconds| rfc3339(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(after(0), "1970-01-01T00:00:00Z");
        assert_eq!(after(951_868_799), "2000-02-29T23:59:59Z");
        assert_eq!(after(1_795_370_400), "2026-11-22T18:00:00Z");
        assert_eq!(after(253_402_300_800), "9999-12-31T23:59:59Z");
        let before = UNIX_EPOCH - Duration::from_millis(500);
        assert_eq!(rfc3339(before), "1970-01-01T00:00:00Z");
        let half = UNIX_EPOCH + Duration::from_millis(500);
        assert_eq!(rfc3339(half), "1970-01-01T00:00:00Z");
    }
}
