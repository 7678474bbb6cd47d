//! One record of the audit log.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keyway_resolver::{Id, Pattern};
use serde::Deserialize;

use crate::output::Table;

/// The most ids that a row names.
const MAX_IDS: usize = 3;

/// The fields of a record that are shown. Other fields are ignored, and absent ones are empty.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Record {
    time: Time,
    action: String,
    patterns: Vec<String>,
    plugin: String,
    detail: String,
    pid: Option<i32>,
    executable: String,
    parent_executable: String,
    command: String,
    outcome: String,
    providers: Vec<String>,
    ids: Vec<String>,
    more_ids: usize,
    failed: Vec<String>,
}

/// A time as the log has it; as seconds since 1970 in logs of version 0.1.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Time {
    Rfc3339(String),
    Seconds(f64),
}

impl Default for Time {
    fn default() -> Self {
        Self::Rfc3339(String::new())
    }
}

impl Time {
    fn get(&self) -> Option<SystemTime> {
        match self {
            Self::Rfc3339(text) => humantime::parse_rfc3339(text).ok(),
            Self::Seconds(seconds) => {
                let since_1970 = Duration::try_from_secs_f64(*seconds).ok()?;
                UNIX_EPOCH.checked_add(since_1970)
            }
        }
    }
}

impl Record {
    /// Returns `true` if the record is not older than this, or its time cannot be read.
    pub(super) fn is_since(&self, since: Option<SystemTime>) -> bool {
        let times = since.zip(self.time.get());
        times.is_none_or(|(since, time)| time >= since)
    }

    /// Returns `true` if an id of the record matches, or if the request was for a pattern that has an id in common.
    pub(super) fn is_about(&self, wanted: Option<&Pattern>) -> bool {
        let Some(wanted) = wanted else {
            return true;
        };
        let is_id = |id: &String| id.parse::<Id>().is_ok_and(|id| wanted.matches(&id));
        let overlaps = |pattern: &String| {
            pattern
                .parse::<Pattern>()
                .is_ok_and(|pattern| pattern.overlaps(wanted))
        };
        self.ids.iter().any(is_id) || self.patterns.iter().any(overlaps)
    }

    /// Adds the row of the record.
    pub(super) fn push_to(&self, table: &mut Table) {
        let time = match self.time.get() {
            Some(time) => crate::output::rfc3339(time),
            None => String::new(),
        };
        table.push([
            &time,
            &self.action,
            &self.caller(),
            &self.about(),
            &self.providers.join(", "),
            &self.outcome(),
        ]);
    }

    /// Formats the caller: its program and pid, for which command it asked, and which program started it.
    fn caller(&self) -> String {
        let name = |path: &str| {
            let name = Path::new(path).file_name();
            name.map(|name| name.to_string_lossy().into_owned())
        };
        let mut text = name(&self.executable).unwrap_or_default();
        if let Some(pid) = self.pid {
            let space = if text.is_empty() { "process " } else { " " };
            text.push_str(&format!("{space}{pid}"));
        }
        if !self.command.is_empty() {
            text.push_str(&format!(" for {}", self.command));
        }
        if let Some(parent) = name(&self.parent_executable) {
            text.push_str(&format!(", from {parent}"));
        }
        text
    }

    /// Formats the ids that were given out, or what was requested if there are none.
    fn about(&self) -> String {
        let plugin = [&*self.plugin, &*self.detail];
        let plugin: Vec<_> = plugin.into_iter().filter(|text| !text.is_empty()).collect();
        if !plugin.is_empty() {
            return plugin.join(": ");
        }
        let (names, n_more) = if self.ids.is_empty() {
            (&self.patterns, 0)
        } else {
            (&self.ids, self.more_ids)
        };
        let n_more = n_more + names.len().saturating_sub(MAX_IDS);
        let mut text = names[..names.len().min(MAX_IDS)].join(", ");
        if n_more > 0 {
            text.push_str(&format!(" and {n_more} more"));
        }
        text
    }

    fn outcome(&self) -> String {
        if self.failed.is_empty() {
            return self.outcome.clone();
        }
        format!("{}; failed: {}", self.outcome, self.failed.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(json: &str) -> Record {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_record_of_either_version_is_shown_in_a_row() {
        let mut table = Table::new(["TIME", "ACTION", "CALLER", "ABOUT", "PROVIDERS", "OUTCOME"]);
        for json in [
            r#"{"time":"2026-11-30T08:00:00.250Z","action":"get","patterns":["web/*"],"uid":7,"pid":42,"executable":"/usr/bin/keyway","parent_executable":"/usr/bin/bash","command":"cargo","outcome":"ok","providers":["file"],"ids":["web/a","web/b","web/c","web/d"],"more_ids":2,"failed":["vault"]}"#,
            r#"{"time":1795978800.5,"action":"register","plugin":"pass","detail":"pass/**","outcome":"ok"}"#,
            r#"{"time":"2026-11-30T08:00:02.000Z","action":"get","patterns":["a/b"],"pid":43,"outcome":"not_found"}"#,
        ] {
            record(json).push_to(&mut table);
        }
        insta::assert_snapshot!(table.text(None));
    }

    #[test]
    fn records_are_chosen_by_time_and_id() {
        let record =
            record(r#"{"time":"2026-11-30T08:00:00Z","patterns":["web/*"],"ids":["web/a"]}"#);
        let time = humantime::parse_rfc3339("2026-11-30T08:00:00Z").unwrap();
        let second = Duration::from_secs(1);
        assert!(record.is_since(None) && record.is_since(Some(time)));
        assert!(!record.is_since(Some(time + second)));
        for (pattern, is_about) in [
            ("web/a", true),
            ("web/x", true),
            ("**", true),
            ("db/*", false),
        ] {
            assert_eq!(
                record.is_about(Some(&pattern.parse().unwrap())),
                is_about,
                "{pattern}"
            );
        }
    }
}
