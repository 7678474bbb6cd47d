//! The daemon's log: on stderr, or in the journal of systemd if stderr leads there.

mod journal;
mod prefixed;

use std::backtrace::Backtrace;
use std::env::{self, VarError};
use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::panic;
use std::time::Duration;

use keyway_local::LogWriter;
use tracing::Level;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::LogFormat;
use crate::failure::Failure;
use journal::{Entry, Journal};
use prefixed::Prefixed;

/// Warnings, and the standard error of plugins.
const DEFAULT_FILTER: &str = "warn,keyway::plugin=info";

/// The most bytes that wait for the reader of the log: some thousand lines.
const CAPACITY: usize = 1024 * 1024;

/// How long the end of the daemon waits for the reader of its log.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// The text of the line about lost lines.
const LOST: &str = "log lines were lost because stderr did not take them";

/// How the log leaves the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    /// Lines on stderr.
    Lines(LogFormat),
    /// Lines on stderr that lead to the journal, each with its priority: the journal has its own time, and adds the process.
    Prefixed,
    /// Entries with fields at the socket of the journal.
    Journal,
}

/// The daemon's log, which holds up no thread that writes to it. When it is dropped, what was written has left, unless the reader
/// does not read.
pub(super) struct Log {
    writer: LogWriter,
    output: Output,
}

impl Log {
    /// Installs the logger, filtered by `RUST_LOG`. Panics are reported through it, too.
    ///
    /// # Errors
    ///
    /// Returns a [`Failure`] if the thread that writes cannot be started.
    pub(super) fn install(format: LogFormat) -> Result<Self, Failure> {
        let (writer, output) = start(format).map_err(|error| {
            Failure::error(
                format_args!("cannot start the thread that writes the log: {error}"),
                "Check the limits of this user for processes",
            )
        })?;
        subscribe(output, &writer);
        let log = Self {
            writer: writer.clone(),
            output,
        };
        panic::set_hook(Box::new(move |panic| {
            let backtrace = Backtrace::capture();
            let writer = writer.clone();
            Self { writer, output }.write(Level::ERROR, format_args!("{panic}\n{backtrace}\n"));
        }));
        Ok(log)
    }

    /// Writes whole lines.
    pub(super) fn write(&self, level: Level, lines: impl fmt::Display) {
        let lines = lines.to_string();
        let bytes = match self.output {
            Output::Lines(_) => lines.into_bytes(),
            Output::Prefixed => prefixed::lines(level, &lines).into_bytes(),
            Output::Journal => Entry::new(level, lines.trim_end()).into_bytes(),
        };
        // The writer takes whatever it is given.
        let _ = self.writer.clone().write_all(&bytes);
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // The end of the process does not depend on the reader of its log.
        let _ = self.writer.flush_within(FLUSH_LIMIT);
    }
}

/// Starts the thread that writes. A log in JSON stays one, also in the journal.
fn start(format: LogFormat) -> io::Result<(LogWriter, Output)> {
    let variable = env::var_os(journal::STREAM_VARIABLE);
    let output = match format {
        LogFormat::Text if journal::is_stream(io::stderr(), variable.as_deref()) => {
            match journal::connect() {
                Ok(socket) => {
                    let writer = LogWriter::start(socket, CAPACITY, lost_in_journal)?;
                    return Ok((writer, Output::Journal));
                }
                // The sandbox of a service may hide the socket; stderr is there.
                Err(_) => Output::Prefixed,
            }
        }
        format => Output::Lines(format),
    };
    let note = match output {
        Output::Lines(LogFormat::Json) => lost_as_json,
        Output::Prefixed => lost_with_prefix,
        _ => lost_as_text,
    };
    Ok((LogWriter::start(io::stderr(), CAPACITY, note)?, output))
}

/// Returns the line that takes the place of `n` lost ones.
fn lost_as_text(n: u64) -> String {
    format!("{}  WARN keyway: {n} {LOST}\n", timestamp())
}

fn lost_as_json(n: u64) -> String {
    let time = timestamp();
    format!(
        r#"{{"timestamp":"{time}","level":"WARN","message":"{n} {LOST}","target":"keyway"}}{}"#,
        '\n'
    )
}

fn lost_with_prefix(n: u64) -> String {
    prefixed::lines(Level::WARN, &format!("{n} {LOST}\n"))
}

fn lost_in_journal(n: u64) -> String {
    Entry::new(Level::WARN, &format!("{n} {LOST}")).into_text()
}

/// Returns the time as the other lines have it.
fn timestamp() -> String {
    let mut text = String::new();
    // Appending to a string cannot fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    text
}

fn subscribe(output: Output, writer: &LogWriter) {
    let (filter, warning) = filter(env::var("RUST_LOG"));
    let writer = writer.clone();
    let layer = match output {
        Output::Journal => Journal::new(writer).boxed(),
        Output::Prefixed => tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .without_time()
            .with_level(false)
            .with_writer(Prefixed::new(writer))
            .boxed(),
        Output::Lines(LogFormat::Text) => tracing_subscriber::fmt::layer()
            .with_ansi(io::stderr().is_terminal())
            .with_writer(move || writer.clone())
            .boxed(),
        Output::Lines(LogFormat::Json) => tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(move || writer.clone())
            .boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .init();
    if let Some(warning) = warning {
        tracing::warn!("{warning}");
    }
}

/// Returns the filter, and a warning about an invalid variable, which does not prevent the start.
fn filter(variable: Result<String, VarError>) -> (Targets, Option<String>) {
    let parsed = match variable {
        Ok(text) if text.trim().is_empty() => None,
        Ok(text) => Some(text.parse().map_err(|_| text)),
        Err(VarError::NotPresent) => None,
        Err(VarError::NotUnicode(text)) => Some(Err(text.to_string_lossy().into_owned())),
    };
    let default = || {
        DEFAULT_FILTER
            .parse()
            .expect("the default filter is well-formed")
    };
    match parsed {
        Some(Ok(filter)) => (filter, None),
        None => (default(), None),
        Some(Err(text)) => (
            default(),
            Some(format!(
                "RUST_LOG={text:?} is not a valid filter, so {DEFAULT_FILTER:?} is used; write a level, or targets with levels such as `info,keyway_mux=debug`"
            )),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str) -> (Targets, Option<String>) {
        filter(Ok(text.to_owned()))
    }

    #[test]
    fn lost_lines_are_reported_in_the_format_of_the_log() {
        let text = lost_as_text(7);
        let (time, message) = text.split_once(' ').expect("a time");
        assert_eq!(
            message,
            " WARN keyway: 7 log lines were lost because stderr did not take them\n"
        );
        let json: serde_json::Value = serde_json::from_str(&lost_as_json(7)).expect("JSON");
        assert_eq!(json["level"], "WARN");
        assert_eq!(
            json["message"],
            "7 log lines were lost because stderr did not take them"
        );
        assert_eq!(json["timestamp"].as_str().map(str::len), Some(time.len()));
        assert_eq!(
            lost_with_prefix(7),
            "<4>7 log lines were lost because stderr did not take them\n"
        );
        assert_eq!(
            lost_in_journal(7),
            "PRIORITY=4\nSYSLOG_IDENTIFIER=keyway\nMESSAGE=7 log lines were lost because stderr did not take them\n"
        );
    }

    #[test]
    fn the_default_filter_allows_warnings_and_the_output_of_plugins() {
        for (filter, warning) in [filter(Err(VarError::NotPresent)), given(" ")] {
            assert!(filter.would_enable("keyway_runtime", &Level::WARN));
            assert!(!filter.would_enable("keyway_runtime", &Level::INFO));
            assert!(filter.would_enable("keyway::plugin", &Level::INFO));
            assert_eq!(warning, None);
        }
    }

    #[test]
    fn the_variable_sets_levels_per_target() {
        let (filter, warning) = given("info,keyway_mux=debug");
        assert!(filter.would_enable("keyway_runtime", &Level::INFO));
        assert!(filter.would_enable("keyway_mux::driver", &Level::DEBUG));
        assert!(!filter.would_enable("keyway_runtime", &Level::DEBUG));
        assert_eq!(warning, None);
    }

    #[test]
    fn an_invalid_variable_is_reported_and_the_default_applies() {
        let (filter, warning) = given("keyway=loud");
        assert!(filter.would_enable("keyway::plugin", &Level::INFO));
        assert!(!filter.would_enable("keyway_runtime", &Level::INFO));
        insta::assert_snapshot!(
            warning.expect("a warning"),
            @r#"RUST_LOG="keyway=loud" is not a valid filter, so "warn,keyway::plugin=info" is used; write a level, or targets with levels such as `info,keyway_mux=debug`"#
        );
    }
}
