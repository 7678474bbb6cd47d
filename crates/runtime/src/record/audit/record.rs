//! One line of the audit log.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use humantime::format_rfc3339_millis;
use keyway_local::ProcessFacts;
use serde::Serialize;

use super::Outcome;
use crate::caller::{Caller, Peer};
use crate::model::PluginName;

/// One line of the log.
#[derive(Debug, Serialize)]
pub(super) struct Record<'a> {
    /// In UTC as in RFC 3339, with milliseconds.
    time: String,
    /// The id of the request, as in the daemon's log; absent for an event of a plugin.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    /// The requested action (`get`, `list`, `authorize`, `enable`, ...), or the event of a plugin (`register`, `refuse`, ...).
    action: &'static str,
    patterns: &'a [String],
    /// The plugin that the record is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin: Option<&'a str>,
    /// Details of the plugin's event: its realm, or why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i32>,
    /// The caller's program, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    executable: Option<String>,
    /// Start time of the caller's process in clock ticks: with the pid it identifies the process for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<u64>,
    /// The program that the process was when it connected, if it is another one now.
    #[serde(skip_serializing_if = "Option::is_none")]
    executable_at_connect: Option<String>,
    /// The program that started the caller's.
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_executable: Option<String>,
    /// The command for which the caller resolves secrets, by its own account: that of `keyway run`.
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'a str>,
    /// `ok`, the code of the error, or `refused` for a plugin.
    outcome: &'a str,
    /// The providers that returned a value or an id.
    providers: &'a [String],
    /// The ids that were given out, at most 64.
    ids: &'a [String],
    /// Number of further ids that were returned.
    #[serde(skip_serializing_if = "is_zero")]
    more_ids: usize,
    /// The providers that failed.
    failed: &'a [String],
    /// Duration of the request in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
}

/// The most ids that a record names.
const MAX_IDS: usize = 64;

fn is_zero(n: &usize) -> bool {
    *n == 0
}

impl<'a> Record<'a> {
    /// Creates a record of now, without an outcome. `caller`: the process that caused it, with its facts from `/proc`.
    fn new(action: &'static str, caller: Option<(&Peer, &ProcessFacts)>) -> Self {
        let (peer, facts) = caller.unzip();
        let path = |path: &Path| {
            (!path.as_os_str().is_empty()).then(|| path.to_string_lossy().into_owned())
        };
        let executable = facts.and_then(|facts| path(&facts.executable));
        let executable_at_connect = peer.and_then(|peer| path(peer.executable()));
        Self {
            time: format_rfc3339_millis(SystemTime::now().max(UNIX_EPOCH)).to_string(),
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
            parent_executable: peer.and_then(|peer| path(peer.parent_executable())),
            command: None,
            outcome: "ok",
            providers: &[],
            ids: &[],
            more_ids: 0,
            failed: &[],
            duration_ms: None,
        }
    }

    /// Returns the line of a request of `caller`.
    pub(super) fn request(action: &'static str, caller: &Caller, outcome: &Outcome) -> Vec<u8> {
        let n_named = outcome.ids.len().min(MAX_IDS);
        Record {
            request_id: Some(caller.request_id.to_string()),
            patterns: &outcome.objects,
            command: caller.command(),
            outcome: &outcome.code,
            providers: &outcome.providers,
            ids: &outcome.ids[..n_named],
            more_ids: outcome.ids.len() - n_named,
            failed: &outcome.failed,
            duration_ms: u64::try_from(caller.since.elapsed().as_millis()).ok(),
            ..Record::new(action, Some((&caller.peer, caller.facts())))
        }
        .line()
    }

    /// Returns the line of a plugin's event. `peer`: the process of an external one.
    pub(super) fn plugin(
        event: &'static str,
        name: &PluginName,
        peer: Option<&Peer>,
        detail: &str,
    ) -> Vec<u8> {
        let facts = peer.map(Peer::facts);
        Record {
            plugin: Some(name.as_str()),
            detail: Some(detail),
            outcome: if event == "refuse" { "refused" } else { "ok" },
            ..Record::new(event, peer.zip(facts.as_ref()))
        }
        .line()
    }

    /// Returns the line of an event of the daemon.
    pub(super) fn daemon(event: &'static str) -> Vec<u8> {
        Record::new(event, None).line()
    }

    fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("texts and numbers have a form in JSON");
        line.push(b'\n');
        line
    }
}
