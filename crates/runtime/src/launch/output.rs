//! The output of a plugin: always drained, cut into lines, escaped, logged up to a rate, and the line that explains its end retained.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keyway_local::{TokenBucket, escape_untrusted};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, sleep, timeout};

use crate::model::PluginName;

/// The longest line that is logged in one piece, in bytes; a longer one is cut there, and the rest of it is dropped.
const MAX_LINE: usize = 2048;

/// The length that counts as one line against the rate.
const COUNTED_LEN: usize = 512;

/// Limit for the lines that a crash writes after the line with the reason: a stack, whose end is of little interest.
const LONGEST_STACK: usize = 400;

/// Limit for the logged lines per second, and for those that come at once.
const LINES_PER_SECOND: u32 = 100;

/// The least time between two lines that count the lines left out.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Bytes that are read between two pauses while lines are left out: the capacity of a pipe.
const READ_BETWEEN_PAUSES: usize = 64 * 1024;

/// Such a pause. It bounds the cost of a plugin that prints without an end, and hardly delays the plugin.
const PAUSE: Duration = Duration::from_millis(10);

/// The part of a plugin's output that is kept. Cheap to clone; all clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct OutputLog(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    /// The last line that was not empty.
    last: Vec<u8>,
    /// The line with which the last crash began, and how many lines came after it.
    crash: Option<(Vec<u8>, usize)>,
}

impl Kept {
    fn push(&mut self, line: &[u8]) {
        match &mut self.crash {
            _ if begins_crash(line) => self.crash = Some((line.to_owned(), 0)),
            // `thread 'main' panicked at src/main.rs:1:2:` has the reason on the next line.
            Some((crash, n_lines @ 0)) if crash.ends_with(b":") => {
                crash.push(b' ');
                crash.extend_from_slice(line);
                *n_lines = 1;
            }
            Some((_, n_lines)) => *n_lines += 1,
            None => {}
        }
        self.last.clear();
        self.last.extend_from_slice(line);
    }
}

/// Returns `true` if this line is the report of a crash by Go's or Rust's runtime.
fn begins_crash(line: &[u8]) -> bool {
    [
        "panic: ",
        "fatal error: ",
        "runtime error: ",
        "SIGSEGV: ",
        "SIGBUS: ",
    ]
    .iter()
    .any(|beginning| line.starts_with(beginning.as_bytes()))
        || (line.starts_with(b"thread '") && escaped(line).contains(" panicked at "))
}

fn escaped(line: &[u8]) -> String {
    escape_untrusted(&String::from_utf8_lossy(line))
}

impl OutputLog {
    /// Returns the line that best explains the end of the process: the beginning of its crash, else the last line that was not
    /// empty.
    pub(crate) fn last_output(&self) -> Option<String> {
        let kept = self.kept();
        let line = match &kept.crash {
            Some((line, n_lines)) if *n_lines <= LONGEST_STACK => line,
            _ => &kept.last,
        };
        Some(escaped(line)).filter(|line| !line.is_empty())
    }

    /// Reads `output` to its end, logs each line under the plugin's name up to a rate, and keeps the last ones.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, unread output stays in the pipe.
    pub(crate) async fn drain(self, plugin: PluginName, mut output: impl AsyncRead + Unpin) {
        let mut cutter = LineCutter::default();
        let mut logger = Logger::new(plugin, Instant::now());
        let mut buffer = [0; 4096];
        let mut n_since_pause = 0;
        loop {
            let read = output.read(&mut buffer);
            let read = if logger.has_left_out() {
                timeout(REPORT_INTERVAL, read).await
            } else {
                Ok(read.await)
            };
            let now = Instant::now();
            match read {
                Ok(Ok(0) | Err(_)) => break,
                Ok(Ok(n_read)) => {
                    cutter.push(&buffer[..n_read], |line| self.take(line, &mut logger, now));
                    n_since_pause += n_read;
                }
                Err(_elapsed) => logger.report_left_out(now),
            }
            if !logger.has_left_out() {
                n_since_pause = 0;
            } else if n_since_pause >= READ_BETWEEN_PAUSES {
                n_since_pause = 0;
                sleep(PAUSE).await;
            }
        }
        let now = Instant::now();
        cutter.finish(|line| self.take(line, &mut logger, now));
        logger.report_left_out(now);
    }

    fn take(&self, line: &[u8], logger: &mut Logger, now: Instant) {
        self.kept().push(line);
        logger.log(line, now);
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        // A panic between two assignments of texts leaves good texts.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Logs lines up to a rate, and how many were left out.
#[derive(Debug)]
struct Logger {
    plugin: PluginName,
    lines: TokenBucket,
    n_left_out: u64,
    reported_at: Instant,
}

impl Logger {
    fn new(plugin: PluginName, now: Instant) -> Self {
        Self {
            plugin,
            lines: TokenBucket::new(LINES_PER_SECOND, LINES_PER_SECOND),
            n_left_out: 0,
            reported_at: now,
        }
    }

    fn log(&mut self, line: &[u8], now: Instant) {
        let n_tokens = 1 + line.len() / COUNTED_LEN;
        match self.lines.take_many(n_tokens as u32, now.into_std()) {
            Some(n_left_out) => {
                self.n_left_out += n_left_out;
                let line = escaped(line);
                // Nothing is left of a line of escape sequences alone.
                if !line.is_empty() {
                    tracing::info!(target: "keyway::plugin", plugin = %self.plugin, "{line}");
                }
            }
            None => self.n_left_out += self.lines.take_left_out(),
        }
        if now >= self.reported_at + REPORT_INTERVAL {
            self.report_left_out(now);
        }
    }

    fn has_left_out(&self) -> bool {
        self.n_left_out > 0
    }

    fn report_left_out(&mut self, now: Instant) {
        if self.has_left_out() {
            let (plugin, n) = (&self.plugin, std::mem::take(&mut self.n_left_out));
            tracing::info!(target: "keyway::plugin", %plugin, "{n} lines were left out");
            self.reported_at = now;
        }
    }
}

/// Cuts bytes into lines of bounded length.
#[derive(Debug, Default)]
struct LineCutter {
    /// The bytes of the unfinished line; `line.len() <= MAX_LINE`.
    line: Vec<u8>,
}

impl LineCutter {
    fn push(&mut self, bytes: &[u8], mut emit: impl FnMut(&[u8])) {
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
    fn finish(&mut self, mut emit: impl FnMut(&[u8])) {
        let line = self.line.trim_ascii_end();
        if !line.is_empty() {
            emit(line);
        }
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyway_test_support::log::Log;

    fn cut(chunks: &[&[u8]]) -> Vec<String> {
        let mut cutter = LineCutter::default();
        let mut lines = Vec::new();
        for chunk in chunks {
            cutter.push(chunk, |line| lines.push(escaped(line)));
        }
        cutter.finish(|line| lines.push(escaped(line)));
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
        cutter.push(b"\nnext\n", |line| lines.push(escaped(line)));
        assert_eq!(lines, ["x".repeat(MAX_LINE), "next".to_owned()]);
    }

    async fn last_output(text: &str) -> Option<String> {
        let log = OutputLog::default();
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

    /// Prints lines for ten seconds as fast as they are read.
    struct Flood(Instant);

    impl AsyncRead for Flood {
        fn poll_read(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            buffer: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            if self.0.elapsed() < Duration::from_secs(10) {
                buffer.put_slice(&b"a line of noise\n".repeat(buffer.remaining() / 16));
            }
            std::task::Poll::Ready(Ok(()))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_logged_at_a_bounded_rate_and_every_line_left_out_is_counted() {
        let log = Log::capture();
        let kept = OutputLog::default();
        let name: PluginName = "chatty".parse().expect("a name");
        let started = Instant::now();
        kept.clone().drain(name, Flood(started)).await;
        assert!(started.elapsed() < Duration::from_secs(11));
        let n_logged = log.with("a line of noise").len() as u64;
        // 10 s at 100 a second, and as many at once.
        assert!((1000..=1100).contains(&n_logged), "{n_logged}");
        let reports = log.with("lines were left out");
        assert!((9..=11).contains(&reports.len()), "{reports:?}");
        let n_left_out: u64 = reports.iter().map(|line| number_in(line)).sum();
        // 64 KiB in each pause of 10 ms.
        let n_pauses = (n_logged + n_left_out) / 4096;
        assert!((900..=1010).contains(&n_pauses), "{n_pauses}");
        assert_eq!(kept.last_output().as_deref(), Some("a line of noise"));
    }

    #[tokio::test(start_paused = true)]
    async fn lines_left_out_are_reported_although_no_further_line_comes() {
        let log = Log::capture();
        let name: PluginName = "chatty".parse().expect("a name");
        let (mut writer, reader) = tokio::io::duplex(1 << 16);
        let draining = tokio::spawn(OutputLog::default().drain(name, reader));
        let text = "line\n".repeat(150);
        tokio::io::AsyncWriteExt::write_all(&mut writer, text.as_bytes())
            .await
            .expect("written");
        sleep(2 * REPORT_INTERVAL).await;
        assert_eq!(log.with("50 lines were left out").len(), 1);
        drop(writer);
        draining.await.expect("drained");
        assert_eq!(log.with("left out").len(), 1);
    }

    fn number_in(line: &str) -> u64 {
        let digits: String = line.chars().filter(char::is_ascii_digit).collect();
        digits.parse().expect("a number")
    }
}
