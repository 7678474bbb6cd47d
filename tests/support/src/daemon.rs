//! A daemon process.

use std::fmt;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::{Process, WAIT_LIMIT};

/// The beginning of the line that reports readiness.
const READY: &str = "keyway: ready at ";

/// A `keyway serve` that is ready. Dropped, it is killed; if the test panics, its log is printed.
#[derive(Debug)]
pub struct Daemon {
    process: Process,
    log: Arc<Log>,
    /// Number of lines that [`expect`](Self::expect) has passed.
    n_expected: usize,
    /// Number of lines until it was ready.
    n_before: usize,
    addresses: String,
}

/// The daemon ended before it was ready, or was not ready in time.
#[derive(Debug)]
#[non_exhaustive]
pub struct StartError {
    /// The exit status; `None` if the daemon was not ready after [`WAIT_LIMIT`].
    pub status: Option<ExitStatus>,
    /// The log.
    pub log: String,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) => write!(f, "the daemon ended with {status}:\n{}", self.log),
            None => write!(
                f,
                "the daemon is not ready after {WAIT_LIMIT:?}:\n{}",
                self.log
            ),
        }
    }
}

impl std::error::Error for StartError {}

impl Daemon {
    /// Starts a daemon and waits until it is ready.
    ///
    /// # Panics
    ///
    /// Panics if the daemon ends before or is not ready in time.
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        Self::try_start(command, |_| {}).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts a daemon and waits until it is ready. `on_line` is called with each line of its log.
    ///
    /// # Errors
    ///
    /// Returns [`StartError`] if the daemon ends before or is not ready after [`WAIT_LIMIT`].
    ///
    /// # Panics
    ///
    /// Panics if the command cannot be started.
    pub fn try_start(
        command: &mut Command,
        on_line: impl Fn(&str) + Send + 'static,
    ) -> Result<Self, StartError> {
        let mut process = Process::spawn(command.stderr(Stdio::piped()));
        let lines = BufReader::new(process.stderr()).split(b'\n');
        let log = Arc::new(Log::default());
        let writer = Arc::clone(&log);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                on_line(&line);
                writer.push(line);
            }
            writer.close();
        });
        let Some(at) = log.wait_for(0, |line| line.starts_with(READY)) else {
            let is_closed = log.lock().is_closed;
            return Err(StartError {
                status: is_closed.then(|| process.wait()),
                log: log.text(0..),
            });
        };
        let addresses = log.lock().lines[at][READY.len()..].to_owned();
        Ok(Self {
            process,
            log,
            n_expected: at + 1,
            n_before: at,
            addresses,
        })
    }

    /// The addresses at which the daemon listens, separated by commas.
    pub fn addresses(&self) -> &str {
        &self.addresses
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The log so far.
    pub fn log(&self) -> String {
        self.log.text(0..)
    }

    /// The log until the daemon was ready.
    pub fn log_before_ready(&self) -> String {
        self.log.text(0..self.n_before)
    }

    /// Waits for a line that contains `text`, behind the lines that were expected before, and returns it.
    ///
    /// # Panics
    ///
    /// Panics if there is no such line after [`WAIT_LIMIT`], or the daemon ends first.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        let found = self
            .log
            .wait_for(self.n_expected, |line| line.contains(text));
        let Some(at) = found else {
            panic!("no line with {text:?} in the daemon's log:\n{}", self.log());
        };
        self.n_expected = at + 1;
        self.log.lock().lines[at].clone()
    }

    /// Sends a signal.
    ///
    /// # Panics
    ///
    /// Panics if the daemon was reaped.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Returns the exit status if the daemon has ended.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        self.process.try_wait()
    }

    /// Sends SIGTERM and waits for the end. Returns the exit status and the log since the daemon was ready.
    ///
    /// # Panics
    ///
    /// Panics if the daemon has not ended after [`WAIT_LIMIT`].
    #[track_caller]
    pub fn stop(self) -> (ExitStatus, String) {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Waits for the end. Returns the exit status and the log since the daemon was ready.
    ///
    /// # Panics
    ///
    /// Panics if the daemon has not ended after [`WAIT_LIMIT`].
    #[track_caller]
    pub fn wait(mut self) -> (ExitStatus, String) {
        let status = self.process.wait();
        self.log.wait_for_end();
        (status, self.log.text(self.n_before + 1..))
    }

    /// Kills the daemon, as a crash would, and waits for the end.
    #[track_caller]
    pub fn kill(mut self) {
        self.signal(Signal::KILL);
        self.process.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
        }
    }
}

/// The lines of a standard error, with a wait for the next one.
#[derive(Debug, Default)]
struct Log {
    state: Mutex<Lines>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<String>,
    /// `true` if the end of the pipe was read.
    is_closed: bool,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: String) {
        self.lock().lines.push(line);
        self.changed.notify_all();
    }

    fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// Waits for a line at or behind position `from`, and returns its position; `None` if there is none after [`WAIT_LIMIT`] or at
    /// the end.
    fn wait_for(&self, from: usize, is_found: impl Fn(&str) -> bool) -> Option<usize> {
        self.wait(|state| {
            let behind = state.lines.iter().skip(from);
            let found = behind.map(String::as_str).position(&is_found);
            match found {
                Some(at) => Some(Some(from + at)),
                None => state.is_closed.then_some(None),
            }
        })
        .flatten()
    }

    /// Waits until everything was read.
    #[track_caller]
    fn wait_for_end(&self) {
        let is_read = self.wait(|state| state.is_closed.then_some(()));
        is_read.expect("no process holds the log open after the daemon's end");
    }

    /// Waits until `condition` returns a value; `None` after [`WAIT_LIMIT`].
    fn wait<T>(&self, condition: impl Fn(&Lines) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + WAIT_LIMIT;
        let mut state = self.lock();
        loop {
            if let Some(value) = condition(&state) {
                return Some(value);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return None;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Some of the lines, each with its line break.
    fn text(&self, range: impl std::slice::SliceIndex<[String], Output = [String]>) -> String {
        let state = self.lock();
        let lines = state.lines.get(range).unwrap_or_default();
        lines
            .iter()
            .flat_map(|line| [line.as_str(), "\n"])
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    /// A process that behaves as a daemon does: it prints `early`, the line of readiness and `late`, and ends at SIGTERM.
    fn fake() -> Daemon {
        Daemon::start(&mut sh(
            "trap 'echo last >&2; exit 3' TERM; echo early >&2; echo 'keyway: ready at a, b' >&2; echo late >&2; \
             while :; do sleep 0.01; done",
        ))
    }

    #[test]
    fn the_log_is_divided_by_the_line_of_readiness() {
        let mut daemon = fake();
        assert_eq!(daemon.addresses(), "a, b");
        assert_eq!(daemon.log_before_ready(), "early\n");
        assert_eq!(daemon.expect("lat"), "late");
        let (status, log) = daemon.stop();
        assert_eq!((status.code(), log.as_str()), (Some(3), "late\nlast\n"));
    }

    #[test]
    #[should_panic(expected = "no line with \"late\"")]
    fn a_line_is_expected_once() {
        let mut daemon = fake();
        daemon.expect("late");
        daemon.signal(Signal::TERM);
        daemon.expect("late");
    }

    #[test]
    fn a_daemon_that_ends_before_it_is_ready_is_an_error() {
        let error = Daemon::try_start(&mut sh("echo broken >&2; exit 2"), |_| {});
        let error = error.expect_err("it ended");
        assert_eq!(error.status.and_then(|status| status.code()), Some(2));
        assert!(error.to_string().ends_with(":\nbroken\n"), "{error}");
    }
}
