//! Go programs and their reports.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use keyway_test_support::wait::eventually_within;
use keyway_test_support::{Home, Process, eventually};
use rustix::process::Signal;
use serde_json::Value;

use crate::programs::GoPrograms;

/// The bound of all that a Go program does: a hundred times its usual time, because the machine may be busy.
const LIMIT: Duration = Duration::from_secs(600);

/// The JSON lines of a program.
#[derive(Debug, Clone, Default)]
pub struct Report {
    events: Vec<Value>,
}

impl Report {
    /// Reads a file; one that does not exist has no events.
    pub fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_default();
        let events = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        Self {
            events: events.collect(),
        }
    }

    /// Reads the file of a program that is about to end, once it has its summary.
    ///
    /// # Panics
    ///
    /// Panics if the summary is not written in time.
    pub fn read_to_end(path: &Path) -> Self {
        eventually(&format!("the summary of {}", path.display()), || {
            let report = Self::read(path);
            match report.event("summary") {
                Some(_) => Ok(report),
                None => Err(report),
            }
        })
    }

    /// The first event of a name.
    pub fn event(&self, name: &str) -> Option<&Value> {
        self.events.iter().find(|event| event["event"] == name)
    }

    /// All events of a name.
    pub fn events(&self, name: &str) -> impl Iterator<Item = &Value> {
        self.events
            .iter()
            .filter(move |event| event["event"] == name)
    }

    /// The last line of a program that ended by itself.
    ///
    /// # Panics
    ///
    /// Panics if there is none.
    pub fn summary(&self) -> &Value {
        let summary = self.event("summary");
        summary.unwrap_or_else(|| panic!("the program wrote no summary: {self}"))
    }

    /// The summary of a program without failures that had requests.
    ///
    /// # Panics
    ///
    /// Panics if something failed, or there was no request.
    pub fn passed(&self) -> &Value {
        let summary = self.summary();
        let failures = summary["failures"].as_array().map_or(1, Vec::len);
        assert_eq!(failures, 0, "the Go side reported failures: {self}");
        assert!(
            summary["requests"].as_u64() > Some(0),
            "no request was made: {self}"
        );
        summary
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.events
            .iter()
            .try_for_each(|event| writeln!(f, "  {event}"))
    }
}

/// A running Go program. Dropped, it is killed.
#[derive(Debug)]
pub struct Peer {
    name: String,
    process: Process,
    report: PathBuf,
}

impl Peer {
    /// Starts a Go program that writes its report into a home.
    ///
    /// # Panics
    ///
    /// Panics if it cannot be started.
    pub fn start(go: &GoPrograms, name: &str, home: &Home, arguments: &[&str]) -> Self {
        Self::start_in(Command::new(go.path(name)), name, home, arguments)
    }

    /// As [`Peer::start`], with a prepared command.
    ///
    /// # Panics
    ///
    /// Panics if it cannot be started.
    pub fn start_in(mut command: Command, name: &str, home: &Home, arguments: &[&str]) -> Self {
        let report = (0..)
            .map(|number| home.join(format!("{name}-{number}.jsonl")))
            .find(|path| !path.exists())
            .expect("some number is free");
        fs::write(&report, "").expect("a report");
        command
            .arg("-report")
            .arg(&report)
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(home.log(name));
        Self {
            name: name.to_owned(),
            process: Process::spawn(&mut command),
            report,
        }
    }

    /// Returns the program's reports so far.
    pub fn report(&self) -> Report {
        Report::read(&self.report)
    }

    /// Waits until the program has reported an event.
    ///
    /// # Panics
    ///
    /// Panics if the event does not come, or the program ends before.
    pub fn wait_for(&mut self, event: &str) -> Value {
        let name = format!("{event:?} of {}", self.name);
        eventually_within(LIMIT, &name, || {
            let has_ended = self.process.try_wait().is_some();
            let report = self.report();
            let found = report.event(event).cloned();
            assert!(
                found.is_some() || !has_ended,
                "{} ended before {event:?}: {report}",
                self.name
            );
            found.ok_or(report)
        })
    }

    /// Sends SIGTERM to the program.
    pub fn terminate(&self) {
        self.process.signal(Signal::TERM);
    }

    /// Waits for the program's end, which must be a success with requests.
    ///
    /// # Panics
    ///
    /// Panics if a check of the program failed, or there was no request.
    pub fn passed(mut self) -> Report {
        let status = self.process.wait_within(LIMIT);
        let report = self.report();
        assert!(
            status.success(),
            "{} ended with {status}:\n{report}",
            self.name
        );
        report.passed();
        report
    }
}
