//! Text of peers, made fit for a terminal.

/// The text without control characters, which could move the cursor of a terminal or pretend to be further lines.
/// Whatever a peer said goes through this before a person sees it.
pub(crate) fn printable(text: &str) -> String {
    let replace = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(replace).collect()
}
