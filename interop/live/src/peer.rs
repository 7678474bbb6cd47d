//! Go programs and their reports.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::home::log;
use crate::programs::GoPrograms;
use crate::wait::{wait_for_end, wait_until};

/// How long a Go program may take for all that it does: a hundred times what it needs, since a machine that tests
/// may be busy with other things.
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

    /// The last line of a program that came to its end.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn summary(&self) -> &Value {
        let summary = self.event("summary");
        summary.unwrap_or_else(|| panic!("the program wrote no summary: {self}"))
    }

    /// The summary of a program without failures that had requests.
    ///
    /// # Panics
    ///
    /// When something failed, or nothing was asked.
    pub fn passed(&self) -> &Value {
        let summary = self.summary();
        let failures = summary["failures"].as_array().map_or(1, Vec::len);
        assert_eq!(failures, 0, "the Go side saw failures: {self}");
        assert!(
            summary["requests"].as_u64() > Some(0),
            "nothing was asked: {self}"
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

/// A running Go program. It is killed when dropped.
#[derive(Debug)]
pub struct Peer {
    name: String,
    child: Child,
    report: PathBuf,
}

impl Peer {
    /// Starts a Go program that writes its report into `folder`.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn start(go: &GoPrograms, name: &str, folder: &Path, arguments: &[&str]) -> Self {
        Self::start_in(Command::new(go.path(name)), name, folder, arguments)
    }

    /// As [`Peer::start`], with a prepared command.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn start_in(mut command: Command, name: &str, folder: &Path, arguments: &[&str]) -> Self {
        let report = (0..)
            .map(|number| folder.join(format!("{name}-{number}.jsonl")))
            .find(|path| !path.exists())
            .expect("some number is free");
        fs::write(&report, "").expect("the folder is ours");
        let child = command
            .arg("-report")
            .arg(&report)
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(log(folder, name))
            .spawn()
            .unwrap_or_else(|e| panic!("{name} cannot be started: {e}"));
        let name = name.to_owned();
        Self {
            name,
            child,
            report,
        }
    }

    /// What the program has reported up to now.
    pub fn report(&self) -> Report {
        Report::read(&self.report)
    }

    /// Waits until the program has reported an event.
    ///
    /// # Panics
    ///
    /// When the event does not come, or the program ends before.
    pub fn wait_for(&mut self, event: &str) -> Value {
        let name = format!("{event:?} of {}", self.name);
        wait_until(&name, LIMIT, || {
            let ended = self
                .child
                .try_wait()
                .expect("a child of ours can be waited for");
            let found = self.report().event(event).cloned();
            assert!(
                found.is_some() || ended.is_none(),
                "{} ended before {event:?}: {}",
                self.name,
                self.report()
            );
            found
        })
    }

    /// Asks the program to end.
    ///
    /// # Panics
    ///
    /// When it has ended already.
    pub fn terminate(&self) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(
            sent.expect("`kill` exists").success(),
            "{} is gone already",
            self.name
        );
    }

    /// Waits for the program's end, which must be a success with requests.
    ///
    /// # Panics
    ///
    /// When a check of the program failed, or nothing was asked.
    pub fn passed(mut self) -> Report {
        let status = wait_for_end(&self.name, &mut self.child, LIMIT);
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

impl Drop for Peer {
    fn drop(&mut self) {
        // It has ended already when the test waited for it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
