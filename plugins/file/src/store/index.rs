//! The index: the secrets, their versions, and the file of each version.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keyway_secrets::Id;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{Expected, StoreError};

/// The format that this version writes, and the newest that it supports.
pub(super) const FORMAT: u32 = 1;

/// The decrypted index.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// Versions of each secret, oldest first, never empty.
    pub(super) secrets: BTreeMap<Id, Vec<Record>>,
    /// Removed versions, oldest first, never empty. They are apart from the others so that a program which does not know of
    /// them never returns one.
    pub(super) removed: BTreeMap<Id, Vec<Record>>,
}

/// One version of a secret.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Record {
    /// Number of the version, counted from one per secret.
    pub(super) version: u64,
    /// Milliseconds since 1970.
    created_at_ms: u64,
    /// Length of the value in bytes.
    pub(super) len: u64,
    /// Name of the file in `values/`, without its extension.
    pub(super) file: String,
    /// SHA-256 of that file in hexadecimal, which detects swapped value files.
    pub(super) sha256: String,
    /// Attributes of the version; not secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) metadata: BTreeMap<String, String>,
    /// The time when the version was removed, in milliseconds since 1970; `None` unless it is among the removed ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    removed_at_ms: Option<u64>,
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

#[derive(Deserialize, Serialize)]
struct Document {
    format: u32,
    secrets: BTreeMap<String, Vec<Record>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    removed: BTreeMap<String, Vec<Record>>,
}

impl Record {
    pub(super) fn new(version: u64, len: usize, file: String, sha256: String) -> Self {
        Self {
            version,
            created_at_ms: now_ms(),
            len: len as u64,
            file,
            sha256,
            metadata: BTreeMap::new(),
            removed_at_ms: None,
        }
    }

    pub(super) fn created_at(&self) -> Option<SystemTime> {
        time(self.created_at_ms)
    }

    pub(super) fn removed_at(&self) -> Option<SystemTime> {
        self.removed_at_ms.and_then(time)
    }
}

pub(super) fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since_epoch.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn time(ms: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_millis(ms))
}

/// The number of versions of a secret that are kept, and the time for which a removed one is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retention {
    /// With the removed ones; at least one.
    pub(super) max_versions: usize,
    pub(super) removed_for: Duration,
}

impl Index {
    /// Parses the JSON text of an index.
    pub(super) fn parse(path: &Path, text: &[u8]) -> Result<Self, StoreError> {
        let corrupt = |error: serde_json::Error| {
            // serde_json quotes the input, which names secrets, so only the position is reported.
            let (line, column) = (error.line(), error.column());
            StoreError::corrupt(
                path,
                format!("its content is not an index (line {line}, column {column})"),
            )
        };
        let FormatOnly { format } = serde_json::from_slice(text).map_err(corrupt)?;
        if format != FORMAT {
            return Err(StoreError::UnknownFormat {
                path: path.to_owned(),
                found: format,
                supported: FORMAT,
            });
        }
        let document: Document = serde_json::from_slice(text).map_err(corrupt)?;
        Ok(Self {
            secrets: parse_secrets(path, document.secrets)?,
            removed: parse_secrets(path, document.removed)?,
        })
    }

    /// Returns the JSON text of this index.
    pub(super) fn to_text(&self) -> Zeroizing<Vec<u8>> {
        let by_name = |secrets: &BTreeMap<Id, Vec<Record>>| {
            let secrets = secrets.iter();
            secrets
                .map(|(id, versions)| (id.as_str().to_owned(), versions.clone()))
                .collect()
        };
        let document = Document {
            format: FORMAT,
            secrets: by_name(&self.secrets),
            removed: by_name(&self.removed),
        };
        let text = serde_json::to_vec(&document);
        Zeroizing::new(text.expect("string keys and plain structs always have a JSON form"))
    }

    /// Returns the current version of a secret.
    pub(super) fn current(&self, id: &Id) -> Option<&Record> {
        self.secrets.get(id).and_then(|versions| versions.last())
    }

    /// Returns the number of the next version of a secret. A number is not used again while a version with it is kept.
    pub(super) fn next_version(&self, id: &Id) -> u64 {
        let last = self.history(id).map(|record| record.version).max();
        last.map_or(1, |last| last.saturating_add(1))
    }

    /// Returns all kept versions of a secret, removed ones included, in no order.
    pub(super) fn history(&self, id: &Id) -> impl Iterator<Item = &Record> {
        let versions = [self.secrets.get(id), self.removed.get(id)];
        versions.into_iter().flatten().flatten()
    }

    /// Checks the current version of a secret.
    ///
    /// # Errors
    ///
    /// Returns [`StoreError::UnexpectedVersion`] if it is not the expected one.
    pub(super) fn expect(&self, id: &Id, expected: &Expected) -> Result<(), StoreError> {
        let current = self.current(id).map(|record| record.version);
        let text = current.map(|version| version.to_string());
        if expected.permits(text.as_deref()) {
            return Ok(());
        }
        Err(StoreError::UnexpectedVersion {
            id: id.clone(),
            current,
        })
    }

    /// Returns all versions of all secrets, removed ones included, in no order.
    pub(super) fn records(&self) -> impl Iterator<Item = &Record> {
        let records = self.secrets.values().chain(self.removed.values());
        records.flatten()
    }

    /// As [`records`](Self::records), to change them.
    pub(super) fn records_mut(&mut self) -> impl Iterator<Item = &mut Record> {
        let records = self.secrets.values_mut().chain(self.removed.values_mut());
        records.flatten()
    }

    /// Appends a version, which becomes the current one.
    pub(super) fn push(&mut self, id: &Id, record: Record) {
        self.secrets.entry(id.clone()).or_default().push(record);
    }

    /// Moves a secret's versions, or one of them, to the removed ones. Returns the number of moved versions.
    pub(super) fn remove(&mut self, id: &Id, version: Option<u64>) -> usize {
        let Some(mut versions) = self.secrets.remove(id) else {
            return 0;
        };
        let is_removed =
            |record: &mut Record| version.is_none_or(|number| record.version == number);
        let mut moved: Vec<_> = versions.extract_if(.., is_removed).collect();
        if !versions.is_empty() {
            self.secrets.insert(id.clone(), versions);
        }
        let (count, now) = (moved.len(), now_ms());
        moved
            .iter_mut()
            .for_each(|record| record.removed_at_ms = Some(now));
        if count > 0 {
            let removed = self.removed.entry(id.clone()).or_default();
            removed.append(&mut moved);
            removed.sort_by_key(|record| record.version);
        }
        count
    }

    /// Drops a secret's removed version for good, or all of them. Returns their number.
    pub(super) fn purge(&mut self, id: &Id, version: Option<u64>) -> usize {
        let Some(versions) = self.removed.get_mut(id) else {
            return 0;
        };
        let before = versions.len();
        versions.retain(|record| version.is_some_and(|number| record.version != number));
        let count = before - versions.len();
        self.removed.retain(|_, versions| !versions.is_empty());
        count
    }

    /// Drops the versions that exceed the retention: of each secret the oldest versions, removed ones first, and removed versions
    /// whose time has passed.
    pub(super) fn retain(&mut self, retention: Retention) {
        let now = now_ms();
        let limit = u64::try_from(retention.removed_for.as_millis()).unwrap_or(u64::MAX);
        for (id, versions) in &mut self.removed {
            versions.retain(|record| {
                let age = now.saturating_sub(record.removed_at_ms.unwrap_or_default());
                age < limit
            });
            let kept = self.secrets.get(id).map_or(0, Vec::len);
            let surplus = (versions.len() + kept).saturating_sub(retention.max_versions);
            versions.drain(..surplus.min(versions.len()));
        }
        self.removed.retain(|_, versions| !versions.is_empty());
        for versions in self.secrets.values_mut() {
            let surplus = versions.len().saturating_sub(retention.max_versions);
            versions.drain(..surplus);
        }
    }

    /// Returns the names of all files in use.
    pub(super) fn files(&self) -> HashSet<&str> {
        self.records().map(|record| record.file.as_str()).collect()
    }
}

fn parse_secrets(
    path: &Path,
    named: BTreeMap<String, Vec<Record>>,
) -> Result<BTreeMap<Id, Vec<Record>>, StoreError> {
    let mut secrets = BTreeMap::new();
    for (name, versions) in named {
        let id: Id = name
            .parse()
            .map_err(|_| StoreError::corrupt(path, "it names a secret by an invalid id"))?;
        if versions.is_empty() || !versions.iter().all(|record| is_random_name(&record.file)) {
            return Err(StoreError::corrupt(
                path,
                format!("its entry of `{id}` is invalid"),
            ));
        }
        secrets.insert(id, versions);
    }
    Ok(secrets)
}

/// Returns `true` for a name in the form of [`random_name`](super::private::random_name), which cannot lead out of the
/// directory.
pub(super) fn is_random_name(file: &str) -> bool {
    file.len() == 32 && file.bytes().all(|byte| byte.is_ascii_hexdigit())
}
