//! Logging to stderr: one line per event, which the daemon collects under the plugin's name.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::sync::OnceLock;
use std::time::Duration;

use keyway_local::{LogWriter, escape_untrusted};
use tracing::field::{Field, Visit};
use tracing::metadata::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Maximum of the bytes that wait for a reader of stderr.
const CAPACITY: usize = 256 * 1024;
/// The time for which the end of the process waits for a reader of stderr.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

/// Writes the lines of this process. Started with the first line, so that a quiet plugin has no further thread; `None` if
/// that failed.
static WRITER: OnceLock<Option<LogWriter>> = OnceLock::new();

/// Writes one line to stderr and never blocks, even if its reader hangs. `line` ends with a line break.
///
/// Not before the launch variable was removed from the environment, because it may start a thread.
pub(crate) fn write_line(line: &str) {
    let writer = WRITER.get_or_init(|| LogWriter::start(io::stderr(), CAPACITY, dropped).ok());
    // With stderr closed there is nowhere to report.
    let _ = match writer.clone() {
        Some(mut writer) => writer.write_all(line.as_bytes()),
        None => io::stderr().lock().write_all(line.as_bytes()),
    };
}

/// Waits until every line was written, for at most half a second.
pub(crate) fn flush() {
    if let Some(Some(writer)) = WRITER.get() {
        writer.flush_within(FLUSH_TIMEOUT);
    }
}

fn dropped(count: u64) -> String {
    let target = module_path!();
    format!("WARN {target}: log lines were dropped because stderr was not read count={count}\n")
}

/// Writes events to stderr as `LEVEL target: message key=value`.
///
/// Spans are ignored. A plugin that needs them sets its own subscriber before it calls `run`.
struct Stderr {
    filter: Filter,
}

/// A filter of events in the syntax of `RUST_LOG`: `warn`, or `info,my_plugin=debug`.
#[derive(Debug, PartialEq, Eq)]
struct Filter {
    default: LevelFilter,
    /// Levels of targets by prefix.
    targets: Vec<(String, LevelFilter)>,
}

/// Installs the logger, unless the plugin has installed a subscriber.
pub(crate) fn install() {
    let filter = Filter::parse(&std::env::var("RUST_LOG").unwrap_or_default());
    // An error means that the author's own subscriber is already set, which takes precedence.
    let _ = tracing::subscriber::set_global_default(Stderr { filter });
}

impl Filter {
    fn parse(text: &str) -> Self {
        let mut filter = Self {
            default: LevelFilter::INFO,
            targets: Vec::new(),
        };
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let (target, level) = part
                .split_once('=')
                .map_or((None, part), |(t, level)| (Some(t), level));
            // An invalid directive is ignored: logging must not keep a plugin from starting.
            let Ok(level) = level.parse() else { continue };
            match target {
                Some(target) => filter.targets.push((target.to_owned(), level)),
                None => filter.default = level,
            }
        }
        filter
    }

    fn allows(&self, target: &str, level: &Level) -> bool {
        let matching = self
            .targets
            .iter()
            .filter(|(prefix, _)| target.starts_with(prefix.as_str()));
        let longest = matching.max_by_key(|(prefix, _)| prefix.len());
        *level <= longest.map_or(self.default, |(_, level)| *level)
    }

    fn most_verbose(&self) -> LevelFilter {
        let targets = self.targets.iter().map(|(_, level)| *level);
        targets.fold(self.default, LevelFilter::max)
    }
}

impl Subscriber for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && self.filter.allows(metadata.target(), metadata.level())
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.filter.most_verbose())
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        write_line(&line.finish(event.metadata()));
    }

    // Spans are ignored, so they share one id; zero is not a valid id.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Line {
    fn finish(self, metadata: &Metadata<'_>) -> String {
        let Self { message, fields } = self;
        // The daemon reads lines, so a message must not be able to forge a second one.
        let text = format!(
            "{} {}: {message}{fields}",
            metadata.level(),
            metadata.target()
        );
        let mut text = escape_untrusted(&text);
        text.push('\n');
        text
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing into a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

/// Captures logged lines in tests.
#[cfg(test)]
pub(crate) mod capture {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Collects the lines instead of writing them.
    struct Capture(Stderr, Arc<Mutex<Vec<String>>>);

    impl Subscriber for Capture {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            self.0.enabled(metadata)
        }
        fn event(&self, event: &Event<'_>) {
            let mut line = Line::default();
            event.record(&mut line);
            self.1.lock().unwrap().push(line.finish(event.metadata()));
        }
        fn new_span(&self, span: &Attributes<'_>) -> Id {
            self.0.new_span(span)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    /// Captures the lines of this thread until it is dropped.
    pub(crate) struct CapturedLines {
        lines: Arc<Mutex<Vec<String>>>,
        _guard: tracing::subscriber::DefaultGuard,
    }

    impl CapturedLines {
        /// Starts to capture the lines that `filter` allows.
        pub(crate) fn start(filter: &str) -> Self {
            let filter = Filter::parse(filter);
            let lines = Arc::default();
            let capture = Capture(Stderr { filter }, Arc::clone(&lines));
            Self {
                lines,
                _guard: tracing::subscriber::set_default(capture),
            }
        }

        pub(crate) fn get(&self) -> Vec<String> {
            self.lines.lock().unwrap().clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_has_the_syntax_of_rust_log() {
        let filter = Filter::parse("warn, my_plugin=debug,my_plugin::quiet=error,nonsense=loud");
        assert!(filter.allows("other", &Level::WARN));
        assert!(!filter.allows("other", &Level::INFO));
        assert!(filter.allows("my_plugin::store", &Level::DEBUG));
        assert!(!filter.allows("my_plugin::quiet::x", &Level::WARN));
        assert_eq!(filter.most_verbose(), LevelFilter::DEBUG);
        assert_eq!(
            Filter::parse(""),
            Filter {
                default: LevelFilter::INFO,
                targets: vec![]
            }
        );
        assert!(!Filter::parse("off").allows("x", &Level::ERROR));
    }

    #[test]
    fn a_message_cannot_forge_a_line() {
        let lines = capture::CapturedLines::start("info");
        tracing::info!(target: "t", count = 3, name = %"a\nb", "one\nERROR two\u{1b}[2J");
        tracing::debug!(target: "t", "not shown");
        assert_eq!(lines.get(), ["INFO t: one ERROR two count=3 name=a b\n"]);
    }
}
