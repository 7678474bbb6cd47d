//! The width of text and terminals, in columns.

use std::os::fd::AsFd;

use rustix::termios::tcgetwinsize;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Mark of a text that was cut.
const ELLIPSIS: &str = "...";

/// Returns the width of the terminal; `None` if the descriptor is not a terminal, or its width is not known.
pub(crate) fn columns_of(descriptor: impl AsFd) -> Option<usize> {
    let columns = tcgetwinsize(descriptor).ok()?.ws_col;
    (columns > 0).then(|| columns.into())
}

/// Returns the width of a text without control characters; some characters take two columns.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// Returns the text, or as much of its beginning as fits into `limit` columns with `...` behind it.
pub(crate) fn cut(text: &str, limit: usize) -> String {
    if width(text) <= limit {
        return text.to_owned();
    }
    let mark = ELLIPSIS.get(..limit).unwrap_or(ELLIPSIS);
    let mut rest = limit - mark.len();
    let fitting = text.chars().take_while(|character| {
        let width = character.width().unwrap_or(0);
        let fits = width <= rest;
        rest = rest.saturating_sub(width);
        fits
    });
    fitting.chain(mark.chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_a_column() {
        for (text, limit, expected) in [
            ("web/token", 9, "web/token"),
            ("web/token", 8, "web/t..."),
            ("web/token", 3, "..."),
            ("web/token", 2, ".."),
            ("web/token", 0, ""),
            ("\u{4e2d}\u{6587}\u{5b57}", 5, "\u{4e2d}..."),
            ("\u{4e2d}\u{6587}\u{5b57}", 4, "..."),
        ] {
            assert_eq!(cut(text, limit), expected, "{text} {limit}");
            assert!(width(&cut(text, limit)) <= limit);
        }
    }
}
