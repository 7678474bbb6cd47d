//! The events that the code under test emits.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::OnceLock;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::set_global_default;
use tracing::{Event, Level, Metadata, Subscriber};

thread_local! {
    /// The events of this thread, while a [`Log`] exists on it.
    static LINES: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Captures the events of this thread from `info` upwards, until it is dropped.
#[derive(Debug)]
pub struct Log {
    /// Not `Send`, because the events are those of one thread.
    _thread: PhantomData<Rc<()>>,
}

impl Log {
    /// Captures the events from now on.
    ///
    /// # Panics
    ///
    /// Panics if the process has another subscriber.
    pub fn capture() -> Self {
        // One subscriber for all threads: with one for each, an event that another thread reaches first could stay disabled.
        static IS_SET: OnceLock<()> = OnceLock::new();
        IS_SET.get_or_init(|| {
            set_global_default(Capture { is_written: false }).expect("the first subscriber");
        });
        LINES.set(Some(Vec::new()));
        Self {
            _thread: PhantomData,
        }
    }

    /// The lines that contain `text`.
    pub fn with(&self, text: &str) -> Vec<String> {
        LINES.with_borrow(|lines| {
            let lines = lines.iter().flatten();
            lines.filter(|line| line.contains(text)).cloned().collect()
        })
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        LINES.set(None);
    }
}

/// Writes the events of this process from `info` upwards to standard error.
///
/// # Panics
///
/// Panics if the process has a subscriber already.
pub fn write_to_stderr() {
    set_global_default(Capture { is_written: true }).expect("the first subscriber");
}

struct Capture {
    /// `true` if the lines go to standard error instead.
    is_written: bool,
}

impl Subscriber for Capture {
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
        LINES.with_borrow_mut(|lines| {
            if let Some(lines) = lines {
                lines.push(line.0);
            }
        });
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
