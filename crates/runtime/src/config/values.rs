//! The syntax of values in the configuration: durations, sizes, names of variables.

use std::time::Duration;

/// Reads a duration as a number and a unit: `500ms`, `10s`, `2m`, `1h`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    duration(text).ok_or_else(|| {
        format!(
            "{text:?} is not a duration like \"500ms\", \"10s\", \"2m\" or \"1h\", at most a day"
        )
    })
}

fn duration(text: &str) -> Option<Duration> {
    let end_of_number = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(end_of_number);
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 3600 * 1000,
        _ => return None,
    };
    let duration = Duration::from_millis(number.parse::<u64>().ok()?.checked_mul(milliseconds)?);
    // A day is longer than any request or cache entry should live, and keeps sums of times far from overflow.
    (!duration.is_zero() && duration <= Duration::from_secs(24 * 3600)).then_some(duration)
}

/// Writes a duration as [`parse_duration`] reads it, in the largest unit without a fraction.
pub(crate) fn format_duration(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    for (unit, length) in [("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
        if milliseconds > 0 && milliseconds.is_multiple_of(length) {
            return format!("{}{unit}", milliseconds / length);
        }
    }
    format!("{milliseconds}ms")
}

/// Reads a number of bytes as a number and a unit: `64KiB`, `256MiB`, `1GiB`.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    size(text)
        .ok_or_else(|| format!("{text:?} is not a size like \"64KiB\", \"256MiB\" or \"1GiB\""))
}

fn size(text: &str) -> Option<u64> {
    let end_of_number = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(end_of_number);
    let bytes: u64 = match unit {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    let size = number.parse::<u64>().ok()?.checked_mul(bytes)?;
    (size > 0).then_some(size)
}

/// Writes a number of bytes as [`parse_size`] reads it, in the largest unit without a fraction; else as a bare number.
pub(crate) fn format_size(bytes: u64) -> String {
    for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if bytes > 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// Checks the name of an environment variable. The value is not read, and never part of the error.
pub(super) fn check_variable(name: &str) -> Result<(), String> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(format!(
            "{name:?} is not the name of an environment variable"
        ));
    }
    if name == keyway_proto::LAUNCH_VARIABLE {
        return Err(format!("{name} is set by the daemon itself"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_number_and_a_unit() {
        for (text, milliseconds) in [
            ("1ms", 1),
            ("1500ms", 1500),
            ("10s", 10_000),
            ("2m", 120_000),
            ("24h", 86_400_000),
        ] {
            let duration = Duration::from_millis(milliseconds);
            assert_eq!(parse_duration(text), Ok(duration));
            assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }
        for text in [
            "",
            "10",
            "s",
            "-1s",
            "1.5s",
            "1 s",
            "0ms",
            "25h",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert_eq!(format_duration(Duration::from_secs(90)), "90s");
    }

    #[test]
    fn sizes_have_a_number_and_a_unit() {
        for (text, bytes) in [("1KiB", 1 << 10), ("256MiB", 256 << 20), ("2GiB", 2 << 30)] {
            assert_eq!(parse_size(text), Ok(bytes));
            assert_eq!(format_size(bytes), text);
        }
        for text in [
            "",
            "1",
            "1MB",
            "0MiB",
            "-1MiB",
            "1.5GiB",
            "MiB",
            "99999999999999GiB",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert_eq!(format_size(4097), "4097");
    }

    #[test]
    fn the_launch_variable_and_invalid_names_are_refused() {
        assert_eq!(check_variable("GNUPGHOME"), Ok(()));
        for name in ["", "A=B", "A\0", keyway_proto::LAUNCH_VARIABLE] {
            assert!(check_variable(name).is_err(), "{name:?}");
        }
    }
}
