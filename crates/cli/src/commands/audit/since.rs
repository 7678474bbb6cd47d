//! The time of `--since`.

use std::time::SystemTime;

/// Reads an age such as `2h`, or a time.
///
/// # Errors
///
/// Returns what is accepted, without the text.
pub(super) fn parse(text: &str) -> Result<SystemTime, &'static str> {
    parse_at(text, SystemTime::now())
}

fn parse_at(text: &str, now: SystemTime) -> Result<SystemTime, &'static str> {
    if let Ok(age) = humantime::parse_duration(text) {
        return now.checked_sub(age).ok_or("this is too long ago");
    }
    let day = format!("{text}T00:00:00Z");
    humantime::parse_rfc3339_weak(text)
        .or_else(|_| humantime::parse_rfc3339(&day))
        .map_err(|_| "an age is like 30m, 2h or 7d, a time like 2026-11-30 or 2026-11-30T08:00:00Z")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn ages_days_and_times_are_read() {
        let now = UNIX_EPOCH + Duration::from_secs(1_796_000_000);
        let before = |seconds| Ok(now - Duration::from_secs(seconds));
        assert_eq!(parse_at("90s", now), before(90));
        assert_eq!(parse_at("2h", now), before(7200));
        assert_eq!(parse_at("1day", now), before(86_400));
        let at = |seconds| Ok(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(parse_at("2026-11-30", now), at(1_795_996_800));
        assert_eq!(parse_at("2026-11-30T01:00:00Z", now), at(1_796_000_400));
        assert_eq!(parse_at("2026-11-30 01:00:00", now), at(1_796_000_400));
        for text in ["", "yesterday", "2026-13-01", "5"] {
            assert!(parse_at(text, now).is_err(), "{text}");
        }
    }
}
