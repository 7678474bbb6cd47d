//! The daemon's log, on stderr.

use std::backtrace::Backtrace;
use std::env::{self, VarError};
use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::panic;
use std::time::Duration;

use keyway_local::LogWriter;

use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::LogFormat;
use crate::failure::Failure;

/// Warnings, and the standard error of plugins.
const DEFAULT_FILTER: &str = "warn,keyway::plugin=info";

/// The most bytes that wait for the reader of the log: some thousand lines.
const CAPACITY: usize = 1024 * 1024;

/// How long the end of the daemon waits for the reader of its log.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// The text of the line about lost lines.
const LOST: &str = "log lines were lost because stderr did not take them";

/// The daemon's standard error, which holds up no thread that writes to it. When it is dropped, what was written has left, unless
/// the reader does not read.
pub(super) struct Log(LogWriter);

impl Log {
    /// Installs the logger on stderr, filtered by `RUST_LOG`. Panics are reported through it, too.
    ///
    /// # Errors
    ///
    /// Returns a [`Failure`] if the thread that writes cannot be started.
    pub(super) fn install(format: LogFormat) -> Result<Self, Failure> {
        let note = match format {
            LogFormat::Text => lost_as_text,
            LogFormat::Json => lost_as_json,
        };
        let writer = LogWriter::start(io::stderr(), CAPACITY, note).map_err(|error| {
            Failure::error(
                format_args!("cannot start the thread that writes the log: {error}"),
                "Check the limits of this user for processes",
            )
        })?;
        subscribe(format, &writer);
        let log = Self(writer.clone());
        panic::set_hook(Box::new(move |panic| {
            let backtrace = Backtrace::capture();
            Self(writer.clone()).write(format_args!("{panic}\n{backtrace}\n"));
        }));
        Ok(log)
    }

    /// Writes whole lines.
    pub(super) fn write(&self, lines: impl fmt::Display) {
        // The writer takes whatever it is given.
        let _ = self.0.clone().write_all(lines.to_string().as_bytes());
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // The end of the process does not depend on the reader of its log.
        let _ = self.0.flush_within(FLUSH_LIMIT);
    }
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

/// Returns the time as the other lines have it.
fn timestamp() -> String {
    let mut text = String::new();
    // Appending to a string cannot fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    text
}

fn subscribe(format: LogFormat, writer: &LogWriter) {
    let (filter, warning) = filter(env::var("RUST_LOG"));
    let writer = writer.clone();
    let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
    let layer = match format {
        LogFormat::Text => layer.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
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
    use tracing::Level;

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
