//! The audit log: caller, request, providers and outcome. Never a value.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use keyway_local::ProcessFacts;
use keyway_rpc::Error;
use serde::Serialize;

use crate::caller::{Caller, Peer};
use crate::config::{AuditConfig, AuditFailure};
use crate::model::PluginName;

/// One line of the log.
#[derive(Debug, Serialize)]
pub(crate) struct Record<'a> {
    /// Seconds since 1970, with milliseconds.
    time: f64,
    /// The id of the request, as in the daemon's log; absent for an event of a plugin.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    /// The requested action (`get`, `list`, `authorize`, `enable`, ...), or what happened to a plugin (`register`, `refuse`, ...).
    action: &'static str,
    patterns: &'a [String],
    /// The plugin that the record is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin: Option<&'a str>,
    /// More about what happened to the plugin: its realm, or why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i32>,
    /// The caller's program, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    executable: Option<String>,
    /// When the caller's process started, in clock ticks: with the pid it names the process for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<u64>,
    /// The program that the process was when it connected, if it is another one now.
    #[serde(skip_serializing_if = "Option::is_none")]
    executable_at_connect: Option<String>,
    /// `ok`, the code of the error, or `refused` for a plugin.
    outcome: &'a str,
    /// The providers that returned a value or an id.
    providers: &'a [String],
    /// The ids that were given out, at most 64.
    ids: &'a [String],
    /// How many more ids were given out.
    #[serde(skip_serializing_if = "is_zero")]
    more_ids: usize,
    /// The providers that failed.
    failed: &'a [String],
    /// How long the request took, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
}

/// The most ids that a record names.
const MAX_IDS: usize = 64;

fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// What a request was about and what came of it, for a [`Record`].
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
    /// The request succeeded.
    pub(crate) fn ok() -> Self {
        Self {
            code: "ok".into(),
            ..Self::default()
        }
    }

    /// These ids were given out, and these providers failed; `found` gives each id with its provider.
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

    /// The request failed. The message is left out: it may repeat a provider's own words.
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

    /// Adds what the request named.
    pub(crate) fn about(self, objects: impl IntoIterator<Item = String>) -> Self {
        Self {
            objects: objects.into_iter().collect(),
            ..self
        }
    }
}

/// The log, if one is configured.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    log: Mutex<Option<Log>>,
}

#[derive(Debug)]
struct Log {
    config: AuditConfig,
    file: Option<File>,
    n_bytes: u64,
}

impl Audit {
    pub(crate) fn new(config: Option<AuditConfig>) -> Self {
        let audit = Self::default();
        audit.configure(config);
        audit
    }

    /// Uses another configuration from now on.
    pub(crate) fn configure(&self, config: Option<AuditConfig>) {
        *self.lock() = config.map(|config| Log {
            config,
            file: None,
            n_bytes: 0,
        });
    }

    /// Records one request. `outcome` is not called while no log is configured.
    ///
    /// # Errors
    ///
    /// `unavailable` if the log cannot be written and `on_failure` is `refuse`.
    pub(crate) fn record(
        &self,
        action: &'static str,
        caller: &Caller,
        outcome: impl FnOnce() -> Outcome,
    ) -> Result<(), Error> {
        self.append(|| {
            let outcome = outcome();
            let n_named = outcome.ids.len().min(MAX_IDS);
            let record = Record {
                request_id: Some(caller.request_id.to_string()),
                patterns: &outcome.objects,
                outcome: &outcome.code,
                providers: &outcome.providers,
                ids: &outcome.ids[..n_named],
                more_ids: outcome.ids.len() - n_named,
                failed: &outcome.failed,
                duration_ms: u64::try_from(caller.since.elapsed().as_millis()).ok(),
                ..Record::new(action, Some((&caller.peer, caller.facts())))
            };
            record.line()
        })
    }

    /// Records what happened to a plugin. `peer`: the process of an external one. That it cannot be recorded is logged.
    pub(crate) fn plugin(
        &self,
        event: &'static str,
        name: &PluginName,
        peer: Option<&Peer>,
        detail: &str,
    ) {
        // Logged by `append`; what happened to a plugin has happened.
        let _ = self.append(|| {
            let facts = peer.map(Peer::facts);
            let record = Record {
                plugin: Some(name.as_str()),
                detail: Some(detail),
                outcome: if event == "refuse" { "refused" } else { "ok" },
                ..Record::new(event, peer.zip(facts.as_ref()))
            };
            record.line()
        });
    }

    /// Records that the daemon starts or stops. That it cannot be recorded is logged.
    pub(crate) fn daemon(&self, event: &'static str) {
        let _ = self.append(|| Record::new(event, None).line());
    }

    /// Appends a line, if a log is configured.
    fn append(&self, line: impl FnOnce() -> io::Result<Vec<u8>>) -> Result<(), Error> {
        let mut guard = self.lock();
        let Some(log) = guard.as_mut() else {
            return Ok(());
        };
        match line().and_then(|line| log.append(&line)) {
            Ok(()) => Ok(()),
            Err(error) => {
                tracing::error!(path = %log.config.path.display(), %error, "audit log not written");
                // A file that was lost is opened anew next time.
                log.file = None;
                match log.config.on_failure {
                    AuditFailure::Continue => Ok(()),
                    AuditFailure::Refuse => Err(Error::unavailable(
                        "the audit log cannot be written, and nothing is given out unrecorded",
                    )),
                }
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Log>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Record<'a> {
    /// A record of now, without an outcome. `caller`: the process that caused it, and what `/proc` says of that.
    fn new(action: &'static str, caller: Option<(&Peer, &ProcessFacts)>) -> Self {
        let (peer, facts) = caller.unzip();
        let path = |path: &Path| {
            (!path.as_os_str().is_empty()).then(|| path.to_string_lossy().into_owned())
        };
        let executable = facts.and_then(|facts| path(&facts.executable));
        let executable_at_connect = peer.and_then(|peer| path(peer.executable()));
        let since_1970 = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            time: since_1970.as_millis() as f64 / 1000.0,
            request_id: None,
            action,
            patterns: &[],
            plugin: None,
            detail: None,
            uid: peer.map(Peer::uid),
            pid: peer.and_then(Peer::pid),
            start_time: facts.and_then(|facts| facts.start_time),
            executable_at_connect: executable_at_connect
                .filter(|at| Some(at) != executable.as_ref()),
            executable,
            outcome: "ok",
            providers: &[],
            ids: &[],
            more_ids: 0,
            failed: &[],
            duration_ms: None,
        }
    }

    fn line(&self) -> io::Result<Vec<u8>> {
        let mut line = serde_json::to_vec(self).map_err(io::Error::other)?;
        line.push(b'\n');
        Ok(line)
    }
}

impl Log {
    /// Appends a line in one write, to a new file when this one is full or was taken away.
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if !self.config.path.exists() {
            (self.file, self.n_bytes) = (None, 0);
        }
        let is_full = self.n_bytes > 0 && self.n_bytes + line.len() as u64 > self.config.max_bytes;
        if is_full {
            self.rotate()?;
            self.file = None;
        }
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.open()?,
        };
        file.write_all(line)?;
        self.n_bytes += line.len() as u64;
        self.file = Some(file);
        Ok(())
    }

    fn open(&mut self) -> io::Result<File> {
        if let Some(directory) = self.config.path.parent() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)?;
        }
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            // A FIFO without a reader, or with one that has stopped, is an error and holds up no request.
            .custom_flags(libc::O_NONBLOCK)
            .open(&self.config.path)?;
        self.n_bytes = file.metadata()?.len();
        Ok(file)
    }

    /// Makes the file the newest of the former ones, and drops those beyond [`AuditConfig::keep`].
    fn rotate(&self) -> io::Result<()> {
        if self.config.keep == 0 {
            return fs::remove_file(&self.config.path);
        }
        for generation in (1..self.config.keep).rev() {
            match fs::rename(self.former(generation), self.former(generation + 1)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => result?,
            }
        }
        fs::rename(&self.config.path, self.former(1))
    }

    /// The path of a former file; 1 is the newest.
    fn former(&self, generation: u32) -> PathBuf {
        let mut name = self.config.path.clone().into_os_string();
        name.push(format!(".{generation}"));
        name.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    use keyway_local::Credentials;

    fn caller() -> Caller {
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().expect("a socket pair");
        let credentials = Credentials::of_peer(&ours).expect("credentials");
        Caller::new(Arc::new(Peer::identify(ours.as_fd(), credentials, true)))
    }

    fn audit(path: &Path, change: impl FnOnce(&mut AuditConfig)) -> Audit {
        let mut config = AuditConfig::new(path);
        change(&mut config);
        Audit::new(Some(config))
    }

    fn record(audit: &Audit) -> Result<(), Error> {
        audit.record("get", &caller(), || Outcome {
            ids: vec!["a/b".into()],
            ..Outcome::ok().about(["a/*".into()])
        })
    }

    #[test]
    fn each_request_is_one_private_line_of_json() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("below/audit.jsonl");
        let audit = audit(&path, |_| {});
        record(&audit)
            .and_then(|()| record(&audit))
            .expect("recorded");
        let text = fs::read_to_string(&path).expect("the log");
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["patterns"][0], "a/*");
        assert_eq!(lines[0]["ids"][0], "a/b");
        assert_eq!(lines[0]["pid"], std::process::id());
        assert_eq!(
            lines[0]["executable"],
            std::env::current_exe()
                .expect("a path")
                .to_string_lossy()
                .as_ref()
        );
        assert_eq!(
            fs::metadata(&path).expect("the log").permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn a_record_names_the_providers_and_at_most_64_ids() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("audit.jsonl");
        let audit = audit(&path, |_| {});
        let ids: Vec<String> = (0..70).map(|n| format!("db/{n}")).collect();
        let outcome = Outcome::found(
            ids.iter().map(|id| (id.as_str(), "vault")),
            ["env".to_owned()].into_iter(),
        );
        audit
            .record("list", &caller(), || outcome)
            .expect("recorded");
        let vault = "vault".parse().expect("a name");
        audit.plugin("refuse", &vault, None, "another file");
        let text = fs::read_to_string(&path).expect("the log");
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        assert_eq!(lines[0]["ids"].as_array().map(Vec::len), Some(64));
        assert_eq!(lines[0]["more_ids"], 6);
        assert_eq!(lines[0]["providers"], serde_json::json!(["vault"]));
        assert_eq!(lines[0]["failed"], serde_json::json!(["env"]));
        assert_eq!(lines[1]["outcome"], "refused");
    }

    #[test]
    fn without_a_log_no_record_is_made() {
        let record = Audit::default().record("get", &caller(), || unreachable!("no log"));
        record.expect("nothing to write");
    }

    #[test]
    fn a_fifo_that_no_process_reads_holds_up_nothing() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("audit.fifo");
        rustix::fs::mkfifoat(
            rustix::fs::CWD,
            &path,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        )
        .expect("a FIFO");
        let (done, ended) = std::sync::mpsc::channel();
        std::thread::spawn({
            let path = path.clone();
            move || {
                let continues = record(&audit(&path, |_| {}));
                let refuses = record(&audit(&path, |config| {
                    config.on_failure = AuditFailure::Refuse
                }));
                done.send((continues.is_ok(), refuses.is_err()))
            }
        });
        let outcome = ended.recv_timeout(std::time::Duration::from_secs(10));
        assert_eq!(outcome, Ok((true, true)));
    }

    #[test]
    fn a_full_or_removed_log_is_replaced_by_a_new_file() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("audit.jsonl");
        let audit = audit(&path, |config| config.max_bytes = 10);
        record(&audit)
            .and_then(|()| record(&audit))
            .expect("recorded");
        let n_lines = |path: &Path| fs::read_to_string(path).expect("a log").lines().count();
        assert_eq!(
            (
                n_lines(&path),
                n_lines(&directory.path().join("audit.jsonl.1"))
            ),
            (1, 1)
        );
        fs::remove_file(&path).expect("removed");
        record(&audit).expect("recorded");
        assert_eq!(n_lines(&path), 1);
    }

    #[test]
    fn as_many_former_logs_are_kept_as_configured() {
        for keep in [0, 1, 3] {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let path = directory.path().join("audit.jsonl");
            let audit = audit(&path, |config| (config.max_bytes, config.keep) = (10, keep));
            for _ in 0..6 {
                record(&audit).expect("recorded");
            }
            let mut names: Vec<_> = fs::read_dir(directory.path())
                .expect("listed")
                .map(|entry| entry.expect("an entry").file_name())
                .collect();
            names.sort();
            let former = (1..=keep).map(|generation| format!("audit.jsonl.{generation}").into());
            let expected: Vec<std::ffi::OsString> = std::iter::once("audit.jsonl".into())
                .chain(former)
                .collect();
            assert_eq!(names, expected);
        }
    }

    #[test]
    fn a_request_that_cannot_be_recorded_is_refused_only_if_configured() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        // A directory cannot be opened as a file.
        let path = directory.path().join("audit");
        fs::create_dir(&path).expect("a directory");
        record(&audit(&path, |_| {})).expect("recorded");
        let error = record(&audit(&path, |config| {
            config.on_failure = AuditFailure::Refuse
        }))
        .expect_err("refused");
        assert_eq!(error.code(), keyway_rpc::Code::Unavailable);
        record(&Audit::new(None)).expect("no log, no failure");
    }
}
