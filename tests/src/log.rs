//! What a daemon of a test logs.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{DefaultGuard, set_default};
use tracing::{Event, Level, Metadata, Subscriber};

/// The events of this thread from `info` upwards, until it is dropped.
#[derive(Debug)]
pub struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    _guard: DefaultGuard,
}

impl Log {
    /// Keeps the events from now on.
    pub fn keep() -> Self {
        let lines = Arc::default();
        Self {
            _guard: set_default(Keeper {
                lines: Arc::clone(&lines),
                is_written: false,
            }),
            lines,
        }
    }

    /// The lines that hold this text.
    pub fn with(&self, text: &str) -> Vec<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let found = lines.iter().filter(|line| line.contains(text));
        found.cloned().collect()
    }
}

/// Writes the events of this process from `info` upwards to standard error.
///
/// # Panics
///
/// If the process has a subscriber already.
pub fn write_to_stderr() {
    tracing::subscriber::set_global_default(Keeper {
        lines: Arc::default(),
        is_written: true,
    })
    .expect("the first subscriber");
}

struct Keeper {
    lines: Arc<Mutex<Vec<String>>>,
    /// Whether the lines go to standard error instead.
    is_written: bool,
}

impl Subscriber for Keeper {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= Level::INFO
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        if self.is_written {
            // A closed standard error has no reader.
            let _ = writeln!(std::io::stderr(), "{}", line.0);
            return;
        }
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(line.0);
    }

    // Spans are not kept, so they need no identity.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing into a string cannot fail.
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}
