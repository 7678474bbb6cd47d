//! The journal of systemd: its native protocol, and whether stderr leads to it.
//!
//! `tracing-journald` speaks the protocol on the thread that logs, which a journal that is stuck would hold up. Here each entry is one
//! line of a [`LogWriter`], which writes it as one datagram on a thread of its own.

use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use keyway_local::LogWriter;
use rustix::fs::fstat;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Where the journal receives entries.
const SOCKET: &str = "/run/systemd/journal/socket";

/// The variable with which systemd names the device and the inode of a stderr that leads to the journal.
pub(super) const STREAM_VARIABLE: &str = "JOURNAL_STREAM";

/// The most bytes of a value. An entry has to fit into one datagram, for which the kernel allows 208 KiB unless configured.
const MAX_VALUE_LEN: usize = 32 * 1024;

/// The longest name of a field that the journal accepts.
const MAX_NAME_LEN: usize = 64;

/// Returns `true` if `output` leads to the journal, by the value of [`STREAM_VARIABLE`]: the variable alone may be that of a parent
/// whose stderr was another one.
pub(super) fn is_stream(output: impl AsFd, variable: Option<&OsStr>) -> bool {
    let ids = variable.and_then(OsStr::to_str).and_then(|text| {
        let (device, inode) = text.split_once(':')?;
        Some((device.parse().ok()?, inode.parse().ok()?))
    });
    let found = fstat(output).map(|stat| (stat.st_dev, stat.st_ino)).ok();
    ids.is_some() && ids == found
}

/// Connects to the journal.
///
/// # Errors
///
/// Returns the error of the operating system if there is no journal, or if a sandbox hides it.
pub(super) fn connect() -> io::Result<UnixDatagram> {
    connect_to(SOCKET.as_ref())
}

fn connect_to(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    Ok(socket)
}

/// Returns the number with which syslog and the journal name a level.
pub(super) fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// An entry of the journal in its native protocol.
#[derive(Debug)]
pub(super) struct Entry(Vec<u8>);

impl Entry {
    pub(super) fn new(level: Level, message: &str) -> Self {
        let mut entry = Self(Vec::new());
        entry.add("PRIORITY", &priority(level).to_string());
        entry.add("SYSLOG_IDENTIFIER", "keyway");
        entry.add("MESSAGE", message);
        entry
    }

    /// Adds a field. A value of several lines is preceded by its length in place of `=`.
    fn add(&mut self, name: &str, value: &str) {
        let value = &value[..value.floor_char_boundary(MAX_VALUE_LEN)];
        self.0.extend_from_slice(name.as_bytes());
        if value.contains('\n') {
            self.0.push(b'\n');
            self.0
                .extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            self.0.push(b'=');
        }
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'\n');
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Returns an entry of single lines as text.
    pub(super) fn into_text(self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

/// Returns the name that a field of an event has in the journal, as `KEYWAY_PLUGIN` for `plugin`.
fn field_name(field: &str) -> String {
    let field = field.strip_prefix("r#").unwrap_or(field);
    let name = field.chars().map(|c| match c.to_ascii_uppercase() {
        c @ ('A'..='Z' | '0'..='9') => c,
        _ => '_',
    });
    "KEYWAY_".chars().chain(name).take(MAX_NAME_LEN).collect()
}

/// Sends events to the journal: the message with all fields, as in the log of a terminal, and each field.
pub(super) struct Journal(LogWriter);

impl Journal {
    pub(super) fn new(writer: LogWriter) -> Self {
        Self(writer)
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut recorded = Recorded::default();
        event.record(&mut recorded);
        let metadata = event.metadata();
        let message = format!("{}{}", recorded.message, recorded.suffix);
        let mut entry = Entry::new(*metadata.level(), &message);
        entry.add("TARGET", metadata.target());
        for (field, value) in &recorded.fields {
            entry.add(&field_name(field), value);
        }
        // The writer takes whatever it is given.
        let _ = self.0.clone().write_all(&entry.into_bytes());
    }
}

/// What an event says.
#[derive(Default)]
struct Recorded {
    message: String,
    /// The other fields as text behind the message.
    suffix: String,
    fields: Vec<(&'static str, String)>,
}

impl Recorded {
    fn push(&mut self, field: &Field, value: String, shown: fmt::Arguments<'_>) {
        match field.name() {
            "message" => self.message = value,
            name => {
                // Appending to a string cannot fail.
                let _ = write!(self.suffix, " {name}={shown}");
                self.fields.push((name, value));
            }
        }
    }
}

impl Visit for Recorded {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, value.to_owned(), format_args!("{value:?}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push(field, format!("{value:?}"), format_args!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;
    use std::os::linux::fs::MetadataExt as _;

    use keyway_test_support::WAIT_LIMIT;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// The fields of an entry.
    fn parse(mut bytes: &[u8]) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        while let Some(end) = bytes.iter().position(|byte| b"=\n".contains(byte)) {
            let (name, rest) = (&bytes[..end], &bytes[end + 1..]);
            let (value, rest) = if bytes[end] == b'\n' {
                let (len, rest) = rest.split_first_chunk().unwrap();
                rest.split_at(usize::try_from(u64::from_le_bytes(*len)).unwrap())
            } else {
                rest.split_at(rest.iter().position(|byte| *byte == b'\n').unwrap())
            };
            fields.push((text(name), text(value)));
            bytes = rest.strip_prefix(b"\n").unwrap();
        }
        assert_eq!(bytes, b"");
        fields
    }

    #[test]
    fn an_event_is_one_datagram_with_its_fields() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("socket");
        let journal = UnixDatagram::bind(&path).unwrap();
        journal.set_read_timeout(Some(WAIT_LIMIT)).unwrap();
        let socket = connect_to(&path).unwrap();
        let writer = LogWriter::start(socket, 1 << 20, |_| String::new()).unwrap();
        let subscriber = tracing_subscriber::registry().with(Journal::new(writer));
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(plugin = %"vault", code = "internal", n = 2, "request failed");
            tracing::debug!("two\nlines");
        });
        let received = || {
            let mut datagram = vec![0; 1 << 16];
            let len = journal.recv(&mut datagram).unwrap();
            parse(&datagram[..len])
        };
        let pairs = |pairs: &[(&str, &str)]| {
            let owned = pairs
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string()));
            owned.collect::<Vec<_>>()
        };
        assert_eq!(
            received(),
            pairs(&[
                ("PRIORITY", "4"),
                ("SYSLOG_IDENTIFIER", "keyway"),
                (
                    "MESSAGE",
                    r#"request failed plugin=vault code="internal" n=2"#
                ),
                ("TARGET", module_path!()),
                ("KEYWAY_PLUGIN", "vault"),
                ("KEYWAY_CODE", "internal"),
                ("KEYWAY_N", "2"),
            ])
        );
        assert_eq!(
            received()[..3],
            pairs(&[
                ("PRIORITY", "7"),
                ("SYSLOG_IDENTIFIER", "keyway"),
                ("MESSAGE", "two\nlines"),
            ])
        );
    }

    #[test]
    fn a_journal_that_reads_nothing_holds_up_no_event_and_learns_how_many_were_lost() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("socket");
        let journal = UnixDatagram::bind(&path).unwrap();
        journal.set_read_timeout(Some(WAIT_LIMIT)).unwrap();
        let note = |n| Entry::new(Level::WARN, &format!("{n} lost")).into_text();
        let writer = LogWriter::start(connect_to(&path).unwrap(), 4096, note).unwrap();
        let subscriber = tracing_subscriber::registry().with(Journal::new(writer));
        const N_EVENTS: usize = 10_000;
        tracing::subscriber::with_default(subscriber, || {
            (0..N_EVENTS).for_each(|_| tracing::info!("event"));
        });
        let (mut n_received, mut n_lost) = (0, 0);
        while n_received + n_lost < N_EVENTS {
            let mut datagram = [0; 4096];
            let len = journal.recv(&mut datagram).unwrap();
            match parse(&datagram[..len])[2].1.strip_suffix(" lost") {
                Some(n) => n_lost += n.parse::<usize>().unwrap(),
                None => n_received += 1,
            }
        }
        assert!(n_lost > 0, "{n_received} events were received");
    }

    #[test]
    fn a_value_is_cut_between_characters_and_a_name_is_one_of_the_journal() {
        let entry = Entry::new(Level::INFO, &"ü".repeat(MAX_VALUE_LEN));
        let (_, message) = parse(&entry.into_bytes()).pop().unwrap();
        assert_eq!(message, "ü".repeat(MAX_VALUE_LEN / 2));
        assert_eq!(field_name("r#caller.pid"), "KEYWAY_CALLER_PID");
        assert_eq!(field_name(&"x".repeat(100)).len(), MAX_NAME_LEN);
    }

    #[test]
    fn the_variable_has_to_name_the_stream() {
        let file = tempfile::tempfile().unwrap();
        let metadata = file.metadata().unwrap();
        let name = format!("{}:{}", metadata.st_dev(), metadata.st_ino());
        assert!(
            is_stream(&file, Some(name.as_ref())),
            "{}",
            file.as_raw_fd()
        );
        let other = format!("{}:{}", metadata.st_dev(), metadata.st_ino() + 1);
        for variable in [Some(other.as_str()), Some(""), Some("1"), Some("a:b"), None] {
            assert!(!is_stream(&file, variable.map(OsStr::new)), "{variable:?}");
        }
    }
}
