//! A plugin's standard error: always drained, cut into lines, escaped, logged, and the line that explains its end retained.

use std::sync::{Arc, Mutex, PoisonError};

use keyway_local::escape_untrusted;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::model::PluginName;

/// The longest line that is logged in one piece, in bytes; a longer one is cut there, and the rest of it is dropped.
const MAX_LINE: usize = 2048;

/// How many lines a crash may write after the line that says why: a stack, of which the end says little.
const LONGEST_STACK: usize = 400;

/// What of a plugin's standard error is kept. Cheap to clone; all clones see the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct StderrLog(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    /// The last line that was not empty.
    last: Option<String>,
    /// The line with which the last crash began, and how many lines came after it.
    crash: Option<(String, usize)>,
}

impl Kept {
    fn push(&mut self, line: &str) {
        match &mut self.crash {
            _ if begins_crash(line) => self.crash = Some((line.to_owned(), 0)),
            // `thread 'main' panicked at src/main.rs:1:2:` has the reason on the next line.
            Some((crash, n_lines @ 0)) if crash.ends_with(':') => {
                crash.push(' ');
                crash.push_str(line);
                *n_lines = 1;
            }
            Some((_, n_lines)) => *n_lines += 1,
            None => {}
        }
        self.last = Some(line.to_owned());
    }
}

/// Whether this line is the report of a crash by Go's or Rust's runtime.
fn begins_crash(line: &str) -> bool {
    [
        "panic: ",
        "fatal error: ",
        "runtime error: ",
        "SIGSEGV: ",
        "SIGBUS: ",
    ]
    .iter()
    .any(|beginning| line.starts_with(beginning))
        || (line.starts_with("thread '") && line.contains(" panicked at "))
}

impl StderrLog {
    /// The line that best says why the process has ended: the beginning of its crash, else the last line that was not empty.
    pub(crate) fn last_output(&self) -> Option<String> {
        let kept = self.kept();
        match &kept.crash {
            Some((line, n_lines)) if *n_lines <= LONGEST_STACK => Some(line.clone()),
            _ => kept.last.clone(),
        }
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
        self.kept().push(line);
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        // A panic between two assignments of texts leaves good texts.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Cuts bytes into escaped lines of bounded length.
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
        let space = MAX_LINE - self.line.len();
        self.line
            .extend_from_slice(&bytes[..bytes.len().min(space)]);
    }

    /// Ends the current line. An empty one is not worth a log entry.
    fn finish(&mut self, mut emit: impl FnMut(&str)) {
        let escaped = escape_untrusted(&String::from_utf8_lossy(&self.line));
        self.line.clear();
        if !escaped.is_empty() {
            emit(&escaped);
        }
    }
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
    fn control_characters_are_escaped_and_colours_removed() {
        assert_eq!(
            cut(&[b"\x1b[31mred\x1b[0m \x07bell\x08 \xe2\x80\xaeright\ttab\n"]),
            [r"red \u{7}bell\u{8} \u{202e}right tab"]
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

    async fn last_output(text: &str) -> Option<String> {
        let log = StderrLog::default();
        let name: PluginName = "chatty".parse().expect("a name");
        log.clone().drain(name, text.as_bytes()).await;
        log.last_output()
    }

    #[tokio::test]
    async fn the_last_line_is_kept() {
        let text: String = (0..100).map(|n| format!("line {n}\n\n")).collect();
        assert_eq!(last_output(&text).await.as_deref(), Some("line 99"));
        assert_eq!(last_output("\n").await, None);
    }

    #[tokio::test]
    async fn a_crash_is_described_by_its_first_line_and_not_by_the_end_of_its_stack() {
        let stack =
            "\ngoroutine 1 [running]:\nmain.main()\n\t/src/main.go:106 +0x1538\n".repeat(30);
        let go = format!("starting\npanic: boom in main\n{stack}");
        assert_eq!(
            last_output(&go).await.as_deref(),
            Some("panic: boom in main")
        );
        let rust = "starting\n\nthread 'main' (7) panicked at src/main.rs:4:5:\nno store\n\
            note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n";
        let reason = "thread 'main' (7) panicked at src/main.rs:4:5: no store";
        assert_eq!(last_output(rust).await.as_deref(), Some(reason));
        let survived = format!("{rust}{}", "working\n".repeat(LONGEST_STACK + 10));
        assert_eq!(last_output(&survived).await.as_deref(), Some("working"));
    }
}
