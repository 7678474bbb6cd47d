//! The value of `connect-timeout-ms`.

use std::time::Duration;

/// The protocol allows at most ten digits.
const MAX_DIGITS: usize = 10;

/// Reads the header; `None` if it is not a number of at most ten digits.
#[cfg(feature = "server")]
pub(super) fn parse(value: &[u8]) -> Option<Duration> {
    if value.is_empty() || value.len() > MAX_DIGITS || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let text = std::str::from_utf8(value).ok()?;
    text.parse().ok().map(Duration::from_millis)
}

/// Writes the header; `None` if the time is too long for it, so that the limit stays local. Parts of
/// a millisecond are rounded up, so that a short timeout does not become zero.
#[cfg(feature = "client")]
pub(super) fn format(timeout: Duration) -> Option<u64> {
    let milliseconds = timeout.as_nanos().div_ceil(1_000_000);
    let longest = 10_u128.pow(MAX_DIGITS as u32) - 1;
    (milliseconds <= longest).then_some(milliseconds as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "server")]
    #[test]
    fn only_up_to_ten_digits_are_read() {
        assert_eq!(parse(b"0"), Some(Duration::ZERO));
        assert_eq!(
            parse(b"9999999999"),
            Some(Duration::from_millis(9_999_999_999))
        );
        for text in ["", "-1", "+1", "1s", " 1", "10000000000", "1.5", "\u{661}"] {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
    }

    #[cfg(feature = "client")]
    #[test]
    fn parts_of_a_millisecond_are_rounded_up() {
        assert_eq!(format(Duration::from_micros(1)), Some(1));
        assert_eq!(format(Duration::from_millis(250)), Some(250));
        assert_eq!(format(Duration::from_millis(10_000_000_000)), None);
        assert_eq!(format(Duration::MAX), None);
    }
}
