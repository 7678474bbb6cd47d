//! A plugin's standard error: always drained, cut into lines, made harmless, logged, and the last of it kept.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::name::PluginName;

/// The longest line that is logged in one piece, in bytes; a longer one is cut there, and the rest of it is dropped.
const MAX_LINE: usize = 2048;

/// How many lines are kept for the plugin's status.
const KEPT_LINES: usize = 8;

/// The last lines that a plugin wrote to standard error. Cheap to clone; all clones see the same lines.
#[derive(Debug, Clone, Default)]
pub(crate) struct StderrLog(Arc<Mutex<VecDeque<String>>>);

impl StderrLog {
    /// The last line that was not empty.
    pub(crate) fn last_line(&self) -> Option<String> {
        self.lines().back().cloned()
    }

    /// Reads `stderr` to its end, logs each line under the plugin's name and keeps the last ones.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, what was not read yet stays in the pipe.
    pub(crate) async fn drain(self, plugin: PluginName, mut stderr: impl AsyncRead + Unpin) {
        let mut cutter = LineCutter::default();
        let mut buffer = [0; 4096];
        loop {
            match stderr.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(n_read) => cutter.push(&buffer[..n_read], |line| self.keep(&plugin, line)),
            }
        }
        cutter.finish(|line| self.keep(&plugin, line));
    }

    fn keep(&self, plugin: &PluginName, line: &str) {
        tracing::info!(target: "keyway::plugin", plugin = %plugin, "{line}");
        let mut lines = self.lines();
        if lines.len() == KEPT_LINES {
            lines.pop_front();
        }
        lines.push_back(line.to_owned());
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, VecDeque<String>> {
        // A panic between two operations on a queue of strings leaves a good queue.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Cuts bytes into printable lines of bounded length.
#[derive(Debug, Default)]
struct LineCutter {
    /// The bytes of the unfinished line; `line.len() <= MAX_LINE`.
    line: Vec<u8>,
}

impl LineCutter {
    fn push(&mut self, bytes: &[u8], mut emit: impl FnMut(&str)) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.append(&rest[..end]);
            self.finish(&mut emit);
            rest = &rest[end + 1..];
        }
        self.append(rest);
    }

    fn append(&mut self, bytes: &[u8]) {
        let room = MAX_LINE - self.line.len();
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// Ends the current line. An empty one is not worth a log entry.
    fn finish(&mut self, mut emit: impl FnMut(&str)) {
        let printable = printable(&self.line);
        self.line.clear();
        if !printable.is_empty() {
            emit(&printable);
        }
    }
}

/// The text of a line without what could steer a terminal or forge a log entry: escape sequences and control characters.
fn printable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut output = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            // `ESC [ ... letter`: a colour or cursor sequence goes as a whole.
            '\u{1b}' if characters.peek() == Some(&'[') => {
                characters.next();
                characters.find(|c| ('@'..='~').contains(c));
            }
            '\t' => output.push(' '),
            c if c.is_control() || is_direction_mark(c) => {}
            c => output.push(c),
        }
    }
    output.truncate(output.trim_end().len());
    output
}

/// Characters that reorder the text around them, so that a log line reads as something else.
fn is_direction_mark(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(chunks: &[&[u8]]) -> Vec<String> {
        let mut cutter = LineCutter::default();
        let mut lines = Vec::new();
        for chunk in chunks {
            cutter.push(chunk, |line| lines.push(line.to_owned()));
        }
        cutter.finish(|line| lines.push(line.to_owned()));
        lines
    }

    #[test]
    fn lines_are_the_same_however_the_bytes_arrive() {
        let text = b"one\ntwo\r\n\n  three";
        let expected = ["one", "two", "  three"];
        assert_eq!(cut(&[text]), expected);
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(cut(&bytes), expected);
    }

    #[test]
    fn control_characters_and_escape_sequences_are_stripped() {
        assert_eq!(
            cut(&[b"\x1b[31mred\x1b[0m \x07bell\x08 \xe2\x80\xaeright\ttab\n"]),
            ["red bell right tab"]
        );
        assert_eq!(cut(&[b"not \xff utf-8\n"]), ["not \u{fffd} utf-8"]);
    }

    #[test]
    fn an_endless_line_is_cut_and_costs_no_memory() {
        let mut cutter = LineCutter::default();
        for _ in 0..1000 {
            cutter.push(&[b'x'; 1000], |_| panic!("no line has ended"));
        }
        assert!(cutter.line.capacity() <= 2 * MAX_LINE);
        let mut lines = Vec::new();
        cutter.push(b"\nnext\n", |line| lines.push(line.to_owned()));
        assert_eq!(lines, ["x".repeat(MAX_LINE), "next".to_owned()]);
    }

    #[tokio::test]
    async fn the_last_lines_are_kept() {
        let log = StderrLog::default();
        let text: String = (0..100).map(|n| format!("line {n}\n")).collect();
        let name: PluginName = "chatty".parse().expect("a name");
        log.clone().drain(name, text.as_bytes()).await;
        assert_eq!(log.last_line().as_deref(), Some("line 99"));
        assert_eq!(log.lines().len(), KEPT_LINES);
    }
}
