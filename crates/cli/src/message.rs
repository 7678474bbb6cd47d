//! Messages on stderr: failures and notes, as sentences or, after `--json`, as one JSON object a line.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use keyway_local::escape_untrusted;
use serde::Serialize;

use crate::stdio;

/// Whether this process writes its messages as JSON. Notes come from everywhere, so the option is not passed to each place.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// Makes this process write its messages as JSON.
pub(crate) fn use_json() {
    IS_JSON.store(true, Ordering::Relaxed);
}

/// Returns whether this process writes its messages as JSON.
pub(crate) fn is_json() -> bool {
    IS_JSON.load(Ordering::Relaxed)
}

/// A note in the output of `--json`.
#[derive(Serialize)]
struct Note {
    note: String,
}

/// Writes a note to stderr: a sentence without its full stop that is not a failure.
pub(crate) fn note(text: impl fmt::Display) {
    let text = escape_untrusted(&text.to_string());
    match is_json() {
        true => write(&json_line(&Note { note: text })),
        false => write(&format!("keyway: {text}.\n")),
    }
}

/// Writes whole lines to stderr.
pub(crate) fn write(lines: &str) {
    // With stderr closed a message has no reader; a failure still has its exit code.
    let _ = stdio::write_stderr(lines.as_bytes());
}

/// Serializes a message in one line.
pub(crate) fn json_line(message: &impl Serialize) -> String {
    let mut line = serde_json::to_string(message).expect("strings and numbers serialize");
    line.push('\n');
    line
}
