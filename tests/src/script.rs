//! The script of a plugin, beyond one [`Behaviour`](crate::Behaviour): its registration, its responses and its own calls.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyway_proto::keyway::v1 as keyway;
use keyway_proto::keyway::v1::FailureKind;
use keyway_rpc::Error;
use serde::{Deserialize, Serialize};

use crate::fault::Fault;

/// The script of a plugin. The plugin reads it at its start and again at each request, so a test can change it while the plugin runs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[allow(clippy::exhaustive_structs, reason = "for tests of this workspace")]
pub struct Script {
    /// The registered realm; `None`: everything below the plugin's name.
    pub pattern: Option<String>,
    /// Sent with the registration.
    pub description: Option<Description>,
    /// `true` if it registers as an access-control module.
    pub is_module: bool,
    /// `true` if the registration waits until a change of the script sets this to `false`.
    pub holds_registration: bool,
    /// The exit status with which it ends instead of registering.
    pub exits_with: Option<u8>,
    /// `true` if it sends bytes that are not yamux instead of registering.
    pub starts_with_garbage: bool,
    /// Its secrets. `None`: a dummy value for every id of a query.
    pub secrets: Option<BTreeMap<String, String>>,
    /// By how many bytes the values of these ids are longer.
    pub padding: BTreeMap<String, usize>,
    /// Number of further secrets, `NAME/0`, `NAME/1` and so on, each with its dummy value.
    pub count: usize,
    /// Ids that it returns for every query, whether the query matches them or not.
    pub unrequested: Vec<String>,
    /// Expiry of its values, in seconds since 1970.
    pub expires_at: Option<i64>,
    /// The kind of failure that its responses declare themselves incomplete with.
    pub incomplete: Option<Failing>,
    /// The response to a query.
    pub response: QueryResponse,
    /// `true` if it serves lists of its secrets.
    pub lists: bool,
    /// The decision about access.
    pub decision: Decision,
    /// Its calls to the daemon, in this order.
    pub calls: Vec<DaemonCall>,
    /// `true` if it makes them before it registers; otherwise afterwards.
    pub calls_before_registration: bool,
}

/// The description that a plugin sends with its registration.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[allow(clippy::exhaustive_structs, reason = "for tests of this workspace")]
pub struct Description {
    /// The realm within the registered pattern.
    pub patterns: Vec<String>,
    /// The most calls in flight.
    pub concurrency: Option<u32>,
    /// `true` if one response may serve several callers.
    pub shareable: bool,
    /// `true` if a call may prompt the user.
    pub interactive: bool,
}

impl From<Description> for keyway::PluginDescription {
    fn from(description: Description) -> Self {
        Self {
            patterns: description.patterns,
            concurrency: description.concurrency,
            shareable: Some(description.shareable),
            interactive: Some(description.interactive),
            ..Self::default()
        }
    }
}

/// The response of a plugin to a query.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(clippy::exhaustive_enums, reason = "for tests of this workspace")]
pub enum QueryResponse {
    /// With its secrets.
    #[default]
    Secrets,
    /// With an error of this Connect code, without a detail.
    Code(String),
    /// With a failure as its detail.
    Failure(Failing),
    /// With a failure for patterns, with its secrets for single ids.
    FailureForPatterns(Failing),
    /// With bytes that are not a message, and its values behind them.
    Garbage,
    /// The process ends with this status.
    Exit(u8),
    /// Not until the script has another response.
    Hold,
    /// With this fault before, in or instead of its secrets.
    Fault(Fault),
}

/// A failure as a provider reports it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(clippy::exhaustive_structs, reason = "for tests of this workspace")]
pub struct Failing {
    /// The number of the kind.
    kind: i32,
    /// The time before which a retry is pointless.
    pub retry_after: Option<Duration>,
    /// The advice for the user.
    pub remedy: String,
}

impl Failing {
    /// A failure of this kind.
    pub fn new(kind: FailureKind) -> Self {
        Self {
            kind: kind.into(),
            ..Self::default()
        }
    }

    /// The same with advice for the user.
    #[must_use]
    pub fn with_remedy(mut self, remedy: &str) -> Self {
        self.remedy = remedy.into();
        self
    }

    /// The same with a time before which a retry is pointless.
    #[must_use]
    pub fn with_retry_after(mut self, time: Duration) -> Self {
        self.retry_after = Some(time);
        self
    }

    /// The failure on the wire.
    pub fn to_wire(&self) -> keyway::Failure {
        keyway::Failure {
            kind: Some(self.kind),
            remedy: Some(self.remedy.clone()),
            retry_after: self.retry_after.and_then(|time| time.try_into().ok()),
        }
    }

    /// The error that carries it.
    pub fn into_error(self) -> Error {
        self.to_wire().into_error("the backend said no")
    }
}

/// The decision of a plugin about access.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(clippy::exhaustive_enums, reason = "for tests of this workspace")]
pub enum Decision {
    /// It denies ids that end in `denied` and allows the rest.
    #[default]
    DenyDenied,
    /// It denies everything.
    DenyAll,
    /// It denies ids and patterns that begin with this.
    DenyBelow(String),
    /// It never decides.
    Hang,
    /// It fails.
    Fail,
}

/// A call of the plugin, or of a process that it started, to its daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(clippy::exhaustive_structs, reason = "for tests of this workspace")]
pub struct DaemonCall {
    /// The way by which the call reaches the daemon.
    pub via: Via,
    /// A method of [`crate::caller`].
    pub method: String,
    /// Its argument.
    pub argument: String,
}

impl DaemonCall {
    /// A call of `method` with `argument`.
    pub fn new(via: Via, method: &str, argument: &str) -> Self {
        Self {
            via,
            method: method.into(),
            argument: argument.into(),
        }
    }
}

/// The way by which a call of a plugin reaches the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::exhaustive_enums, reason = "for tests of this workspace")]
pub enum Via {
    /// Over the plugin connection.
    Connection,
    /// Over the daemon's socket.
    Socket,
    /// Over the daemon's socket, by a child in the plugin's process group.
    Child,
    /// Over the daemon's socket, by a child in a session of its own.
    ChildInSession,
}

/// The files of a plugin's script and of the events that it records.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    script: PathBuf,
    events: PathBuf,
}

impl Place {
    /// The place for the plugin `name` of the home at `home`.
    pub(crate) fn new(home: &Path, name: &str) -> Self {
        let directory = home.join("scripts");
        Self {
            script: directory.join(format!("{name}.json")),
            events: directory.join(format!("{name}.events")),
        }
    }

    /// The script; the default one if there is none.
    pub(crate) fn read(&self) -> Script {
        match std::fs::read(&self.script) {
            Ok(text) => serde_json::from_slice(&text).expect("a script of this crate"),
            Err(_) => Script::default(),
        }
    }

    /// Replaces the script in one step.
    pub(crate) fn write(&self, script: &Script) {
        let directory = self.script.parent().expect("it is in a directory");
        std::fs::create_dir_all(directory).expect("a directory");
        let text = serde_json::to_vec(script).expect("a script is JSON");
        let fresh = self.script.with_extension("new");
        std::fs::write(&fresh, text)
            .and_then(|()| std::fs::rename(&fresh, &self.script))
            .expect("a script");
    }

    /// Waits until `is_met` holds for the script. It has no bound, because the plugin ends with its daemon.
    pub(crate) async fn wait(&self, is_met: impl Fn(&Script) -> bool) {
        while !is_met(&self.read()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Records an event, if the plugin has a script.
    pub(crate) fn note(&self, event: &str) {
        if !self.script.exists() {
            return;
        }
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(&self.events)
            .expect("the events");
        file.write_all(format!("{event}\n").as_bytes())
            .expect("an event");
    }

    /// Removes all events.
    pub(crate) fn clear_events(&self) {
        if let Ok(file) = std::fs::OpenOptions::new().write(true).open(&self.events) {
            file.set_len(0).expect("a file");
        }
    }

    /// The events so far.
    pub(crate) fn events(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.events).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}
