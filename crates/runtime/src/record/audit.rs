//! The audit log: caller, request, providers and outcome. Never a value.

mod file;
mod record;
mod writer;

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use keyway_rpc::Error;
use tokio::time::timeout;

use self::file::LogFile;
use self::record::Record;
use self::writer::Writer;
use crate::caller::{Caller, Peer};
use crate::config::{AuditConfig, ConfigError};
use crate::model::PluginName;

/// The time for which a request waits for its record if it is refused without one.
const RECORD_LIMIT: Duration = Duration::from_secs(2);

/// The time for which the end of the daemon waits for the last record.
const STOP_LIMIT: Duration = Duration::from_secs(1);

/// Limit for opening the file.
const CHECK_LIMIT: Duration = Duration::from_secs(1);

/// The subject and the result of a request, for a [`Record`].
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// The patterns or plugins that the request named.
    pub(crate) objects: Vec<String>,
    /// `ok`, or the code of the error.
    pub(crate) code: String,
    pub(crate) providers: Vec<String>,
    pub(crate) ids: Vec<String>,
    pub(crate) failed: Vec<String>,
}

impl Outcome {
    /// Creates the outcome of a request that succeeded.
    pub(crate) fn ok() -> Self {
        Self {
            code: "ok".into(),
            ..Self::default()
        }
    }

    /// Creates the outcome of a request: these ids were given out, and these providers failed; `found` gives each id with its
    /// provider.
    pub(crate) fn found<'a>(
        found: impl Iterator<Item = (&'a str, &'a str)>,
        failed: impl Iterator<Item = String>,
    ) -> Self {
        let (ids, mut providers): (Vec<String>, Vec<String>) = found
            .map(|(id, provider)| (id.to_owned(), provider.to_owned()))
            .unzip();
        providers.sort();
        providers.dedup();
        Self {
            code: "ok".into(),
            ids,
            failed: failed.collect(),
            providers,
            ..Self::default()
        }
    }

    /// Creates the outcome of a request that failed. The message is left out: it may repeat a provider's own words.
    pub(crate) fn failed(error: &Error) -> Self {
        Self {
            code: error.code().to_string(),
            ..Self::default()
        }
    }

    /// [`ok`](Self::ok) or [`failed`](Self::failed).
    pub(crate) fn of<T>(result: &Result<T, Error>) -> Self {
        match result {
            Ok(_) => Self::ok(),
            Err(error) => Self::failed(error),
        }
    }

    /// Adds the subject of the request.
    pub(crate) fn about(self, objects: impl IntoIterator<Item = String>) -> Self {
        Self {
            objects: objects.into_iter().collect(),
            ..self
        }
    }
}

/// The log, if one is configured. Its file is written by a thread of its own: no disk holds up the daemon.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    writer: ArcSwapOption<Writer>,
}

/// Opens the file of the log as the writer will, and creates it where it is absent. Waits for a disk that hangs for a moment, and
/// leaves it to the writer to report.
///
/// # Errors
///
/// Returns [`ConfigError::Audit`] if the file cannot be written.
pub(crate) fn check(config: &AuditConfig) -> Result<(), ConfigError> {
    let (sender, result) = mpsc::channel();
    let mut file = LogFile::new(config.clone());
    let opened = thread::Builder::new().name("audit".into()).spawn(move || {
        // Without a receiver the file is reported by the writer.
        let _ = sender.send(file.open());
    });
    match opened.map(|_thread| result.recv_timeout(CHECK_LIMIT)) {
        Ok(Ok(Err(error))) => Err(ConfigError::Audit(error.into())),
        Ok(Ok(Ok(())) | Err(_)) => Ok(()),
        Err(error) => Err(ConfigError::Audit(error.into())),
    }
}

impl Audit {
    pub(crate) fn new(config: Option<AuditConfig>) -> Self {
        let audit = Self::default();
        audit.configure(config);
        audit
    }

    /// Uses another configuration from now on. Queued lines are still written to the former file.
    pub(crate) fn configure(&self, config: Option<AuditConfig>) {
        let writer = config.map(|config| Arc::new(Writer::start(config)));
        self.writer.store(writer);
    }

    /// Records one request. `outcome` is not called while no log is configured. If `on_failure` is `refuse`, this waits until the
    /// record is written, for two seconds at most.
    ///
    /// # Errors
    ///
    /// Returns `unavailable` if `on_failure` is `refuse` and the record was not written.
    ///
    /// # Cancel safety
    ///
    /// A record that was queued is written, even if the future is dropped.
    pub(crate) async fn record(
        &self,
        action: &'static str,
        caller: &Caller,
        outcome: impl FnOnce() -> Outcome,
    ) -> Result<(), Error> {
        let Some(writer) = self.writer.load_full() else {
            return Ok(());
        };
        let Some(waiting) = writer.push(&Record::request(action, caller, &outcome())) else {
            return Ok(());
        };
        match timeout(RECORD_LIMIT, waiting).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(_lost)) => {}
            Err(_elapsed) => writer.stalled(),
        }
        Err(Error::unavailable(
            "the audit log cannot be written, and nothing is given out unrecorded",
        ))
    }

    /// As [`record`](Self::record), for an action that needs no record: the caller does not wait. A failure is logged.
    pub(crate) fn note(&self, action: &'static str, caller: &Caller, outcome: &Outcome) {
        self.append(|| Record::request(action, caller, outcome));
    }

    /// Records an event of a plugin. `peer`: the process of an external one. A failure is logged.
    pub(crate) fn plugin(
        &self,
        event: &'static str,
        name: &PluginName,
        peer: Option<&Peer>,
        detail: &str,
    ) {
        self.append(|| Record::plugin(event, name, peer, detail));
    }

    /// Records that the daemon starts. A failure is logged.
    pub(crate) fn start(&self) {
        self.append(|| Record::daemon("start"));
    }

    /// Records that the daemon stops, and waits until all records are written, for a second at most.
    pub(crate) async fn stop(&self) {
        if let Some(writer) = self.writer.load_full() {
            // A failure is logged.
            let _ = timeout(STOP_LIMIT, writer.push_and_wait(&Record::daemon("stop"))).await;
        }
    }

    fn append(&self, line: impl FnOnce() -> Vec<u8>) {
        if let Some(writer) = &*self.writer.load() {
            writer.push(&line());
        }
    }
}

#[cfg(test)]
mod tests;
