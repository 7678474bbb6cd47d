//! Lines that begin with their priority, as `sd-daemon(3)` describes them, for a stderr that leads to the journal.

use std::fmt::Write as _;
use std::io::{self, Write};

use keyway_local::LogWriter;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use super::journal::priority;

/// Returns each line of a text with its priority.
pub(super) fn lines(level: Level, text: &str) -> String {
    let mut prefixed = String::new();
    for line in text.lines() {
        // Appending to a string cannot fail.
        let _ = writeln!(prefixed, "<{}>{line}", priority(level));
    }
    prefixed
}

/// Writes the lines of events, each with its priority.
pub(super) struct Prefixed(LogWriter);

impl Prefixed {
    pub(super) fn new(writer: LogWriter) -> Self {
        Self(writer)
    }
}

/// The lines of one event.
pub(super) struct PrefixedEvent {
    writer: LogWriter,
    level: Level,
}

impl<'a> MakeWriter<'a> for Prefixed {
    type Writer = PrefixedEvent;

    fn make_writer(&'a self) -> Self::Writer {
        PrefixedEvent {
            writer: self.0.clone(),
            level: Level::INFO,
        }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Self::Writer {
        PrefixedEvent {
            level: *metadata.level(),
            ..self.make_writer()
        }
    }
}

/// Takes whole events, as the formatter writes them.
impl Write for PrefixedEvent {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        self.writer.write_all(lines(self.level, &text).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn each_line_of_an_event_begins_with_its_priority() {
        let (mut reader, output) = io::pipe().unwrap();
        let writer = LogWriter::start(output, 1 << 20, |_| String::new()).unwrap();
        let layer = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .without_time()
            .with_level(false)
            .with_target(false)
            .with_writer(Prefixed::new(writer));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::error!(plugin = %"vault", "request failed");
            tracing::info!("two\nlines");
        });
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "<3>request failed plugin=vault\n<6>two\n<6>lines\n");
    }
}
