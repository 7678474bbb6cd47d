//! The lines of files with sections and `key = value`.

use std::ops::Range;

use super::lines::{lines, trimmed};

/// One `key = value`.
pub(super) struct Entry {
    /// Its line, counted from one.
    pub(super) line: usize,
    /// The name of its section; empty before the first one.
    pub(super) section: String,
    pub(super) key: String,
    /// The bytes of the value, without blanks around it.
    pub(super) value: Range<usize>,
    /// The bytes of the whole line, with its line break.
    pub(super) full: Range<usize>,
    /// Whether indented lines follow, which continue the value.
    pub(super) is_continued: bool,
}

/// Returns the entries of a file. `separators` are the bytes between key and value.
pub(super) fn entries(text: &[u8], separators: &[u8]) -> Vec<Entry> {
    let mut found: Vec<Entry> = Vec::new();
    let mut section = String::new();
    let mut may_continue = false;
    for line in lines(text) {
        let content = line.text.trim_ascii();
        if content.is_empty() || matches!(content[0], b'#' | b';') {
            may_continue &= !content.is_empty();
            continue;
        }
        if line.text[0].is_ascii_whitespace() && may_continue {
            if let Some(last) = found.last_mut() {
                last.is_continued = true;
            }
            continue;
        }
        may_continue = false;
        if let Some(name) = content
            .strip_prefix(b"[")
            .and_then(|rest| rest.strip_suffix(b"]"))
        {
            section = String::from_utf8_lossy(name.trim_ascii()).into_owned();
            continue;
        }
        let separator = line.text.iter().position(|byte| separators.contains(byte));
        let Some(separator) = separator.map(|at| line.span.start + at) else {
            continue;
        };
        let key = text[line.span.start..separator].trim_ascii();
        may_continue = true;
        found.push(Entry {
            line: line.number,
            section: section.clone(),
            key: String::from_utf8_lossy(key).into_owned(),
            value: trimmed(text, separator + 1..line.span.end),
            full: line.full,
            is_continued: false,
        });
    }
    found
}
