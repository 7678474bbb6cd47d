//! The lines of a file.

use std::ops::Range;

/// One line of a file.
pub(super) struct Line<'a> {
    /// Its number, counted from one.
    pub(super) number: usize,
    /// Its bytes in the file, without the line break.
    pub(super) span: Range<usize>,
    /// Its bytes in the file, with the line break.
    pub(super) full: Range<usize>,
    /// Its text, without the line break.
    pub(super) text: &'a [u8],
}

/// Returns the lines of a file. Line breaks are `\n` and `\r\n`.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let mut start = 0;
    let pieces = text.split_inclusive(|byte| *byte == b'\n');
    pieces.enumerate().map(move |(index, piece)| {
        let full = start..start + piece.len();
        start = full.end;
        let line = piece.strip_suffix(b"\n").unwrap_or(piece);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        Line {
            number: index + 1,
            span: full.start..full.start + line.len(),
            full,
            text: line,
        }
    })
}

/// Returns the part of `span` without blanks at its ends.
pub(super) fn trimmed(text: &[u8], span: Range<usize>) -> Range<usize> {
    let part = &text[span.clone()];
    let start = span.start + (part.len() - part.trim_ascii_start().len());
    start..start + part.trim_ascii().len()
}
