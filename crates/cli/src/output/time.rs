//! Formats points in time.

use std::time::{SystemTime, UNIX_EPOCH};

const SECONDS_PER_DAY: i64 = 86_400;

/// Formats a time in UTC as in RFC 3339, to the second: `2026-11-22T18:00:00Z`.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    let seconds = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
        Err(before) => {
            let before = before.duration();
            let whole = i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
            -whole - i64::from(before.subsec_nanos() > 0)
        }
    };
    let (year, month, day) = date(seconds.div_euclid(SECONDS_PER_DAY));
    let second = seconds.rem_euclid(SECONDS_PER_DAY);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z",
        second % 60
    )
}

/// Returns the Gregorian date of a day counted from 1970-01-01. The algorithm counts years from March, so that the leap
/// day is the last of its year, and in eras of 400 years, which have 146,097 days each.
fn date(day: i64) -> (i64, i64, i64) {
    let day = day + 719_468;
    let era = day.div_euclid(146_097);
    let of_era = day.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (400 * era + year + carry, month, of_month)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn known_times_are_formatted() {
        let check = |seconds: i64, expected: &str| {
            let distance = Duration::from_secs(seconds.unsigned_abs());
            let time = match seconds < 0 {
                true => UNIX_EPOCH - distance,
                false => UNIX_EPOCH + distance,
            };
            assert_eq!(rfc3339(time), expected);
        };
        check(0, "1970-01-01T00:00:00Z");
        check(951_782_400, "2000-02-29T00:00:00Z");
        check(951_868_799, "2000-02-29T23:59:59Z");
        check(1_709_251_200, "2024-03-01T00:00:00Z");
        check(4_107_542_400, "2100-03-01T00:00:00Z");
        check(1_795_370_400, "2026-11-22T18:00:00Z");
        check(-1, "1969-12-31T23:59:59Z");
        check(-62_135_596_800, "0001-01-01T00:00:00Z");
    }

    #[test]
    fn fractions_of_a_second_are_rounded_down() {
        let half = Duration::from_millis(500);
        assert_eq!(rfc3339(UNIX_EPOCH + half), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(UNIX_EPOCH - half), "1969-12-31T23:59:59Z");
    }
}
