//! Text of peers for logs, responses and terminals, and durations for messages.

use std::time::Duration;

/// Returns the text without anything that could steer a terminal, forge a log entry or read as something else.
///
/// Colour and cursor sequences are removed. A tab, a line break and a run of them become one space. Other control
/// characters, and the marks that change the direction of text, are written as `\u{7}`. Spaces at the end are removed.
///
/// ```
/// use keyway_local::escape_untrusted;
///
/// assert_eq!(escape_untrusted("\x1b[31mred\x1b[0m\r\nbell\x07 "), r"red bell\u{7}");
/// ```
#[must_use]
pub fn escape_untrusted(text: &str) -> String {
    let mut output = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            // `ESC [ ... letter`: a colour or cursor sequence is removed as a whole.
            '\u{1b}' if characters.peek() == Some(&'[') => {
                characters.next();
                characters.find(|c| ('@'..='~').contains(c));
            }
            '\t' | '\n' | '\r' => {
                if !output.ends_with(' ') {
                    output.push(' ');
                }
            }
            c if c.is_control() || reorders_text(c) => output.extend(c.escape_unicode()),
            c => output.push(c),
        }
    }
    output.truncate(output.trim_end().len());
    output
}

/// Returns `true` for a character that reorders the text around it, or breaks its line.
fn reorders_text(c: char) -> bool {
    matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

/// Cuts a text to at most `limit` characters; a text that was cut ends in `…`, which counts.
///
/// ```
/// use keyway_local::shortened;
///
/// assert_eq!(shortened("vault", 5), "vault");
/// assert_eq!(shortened("vaults", 5), "vaul…");
/// ```
#[must_use]
pub fn shortened(text: &str, limit: usize) -> String {
    let Some((end, _)) = text.char_indices().nth(limit) else {
        return text.to_owned();
    };
    let last = text[..end].char_indices().next_back();
    let mut short = text[..last.map_or(0, |(start, _)| start)].to_owned();
    if limit > 0 {
        short.push('…');
    }
    short
}

/// Writes a duration for a message, with at most one decimal: `20 ms`, `1.5 s`, `2 min`.
///
/// The rest of a deadline counts nanoseconds, which no reader needs.
///
/// ```
/// use keyway_local::format_duration;
/// use std::time::Duration;
///
/// assert_eq!(format_duration(Duration::from_nanos(1_499_999_000)), "1.5 s");
/// ```
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let millis = duration.as_nanos().saturating_add(500_000) / 1_000_000;
    if millis < 1_000 {
        return format!("{millis} ms");
    }
    let tenths = (millis + 50) / 100;
    let minutes_at = 120 * 10;
    if tenths < minutes_at {
        return decimal(tenths, "s");
    }
    decimal((tenths + 30) / 60, "min")
}

fn decimal(tenths: u128, unit: &str) -> String {
    match tenths % 10 {
        0 => format!("{} {unit}", tenths / 10),
        rest => format!("{}.{rest} {unit}", tenths / 10),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn control_sequences_are_removed_or_escaped() {
        let cases = [
            (
                "\x1b[31mred\x1b[0m \x07bell\x08 \u{202e}right\ttab\r\n ",
                r"red \u{7}bell\u{8} \u{202e}right tab",
            ),
            ("\x1b[31", ""),
            ("\x1b]0;title\x07", r"\u{1b}]0;title\u{7}"),
            ("a\n\n\nb", "a b"),
            ("line\u{2028}separator", r"line\u{2028}separator"),
            ("ordinäry ✓", "ordinäry ✓"),
        ];
        for (text, expected) in cases {
            assert_eq!(escape_untrusted(text), expected);
        }
    }

    #[test]
    fn durations_are_rounded_for_a_reader() {
        let cases = [
            (0, "0 ms"),
            (400_000, "0 ms"),
            (20_600_000, "21 ms"),
            (999_600_000, "1 s"),
            (5_000_000_000, "5 s"),
            (5_049_000_000, "5 s"),
            (5_050_000_000, "5.1 s"),
            (90_000_000_000, "90 s"),
            (120_000_000_000, "2 min"),
            (150_000_000_000, "2.5 min"),
        ];
        for (nanos, expected) in cases {
            assert_eq!(format_duration(Duration::from_nanos(nanos)), expected);
        }
        assert!(format_duration(Duration::MAX).ends_with(" min"));
    }

    proptest! {
        #[test]
        fn no_text_keeps_control_characters(text in any::<String>(), limit in 0_usize..20) {
            let escaped = escape_untrusted(&text);
            prop_assert!(!escaped.chars().any(|c| c.is_control() || reorders_text(c)));
            prop_assert_eq!(escape_untrusted(&escaped), escaped.clone());
            let short = shortened(&escaped, limit);
            prop_assert!(short.chars().count() <= limit);
            prop_assert_eq!(short == escaped, escaped.chars().count() <= limit);
        }
    }
}
