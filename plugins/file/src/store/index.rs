//! The index: the secrets, their versions, and the file of each version.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keyway_secrets::Id;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::StoreError;

/// The format that this version writes, and the newest that it supports.
pub(super) const FORMAT: u32 = 1;

/// The decrypted index.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// Versions of each secret, oldest first, never empty.
    pub(super) secrets: BTreeMap<Id, Vec<Record>>,
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
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

#[derive(Deserialize, Serialize)]
struct Document {
    format: u32,
    secrets: BTreeMap<String, Vec<Record>>,
}

impl Record {
    pub(super) fn new(version: u64, len: usize, file: String, sha256: String) -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let created_at_ms = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
        Self {
            version,
            created_at_ms,
            len: len as u64,
            file,
            sha256,
        }
    }

    pub(super) fn created_at(&self) -> Option<SystemTime> {
        UNIX_EPOCH.checked_add(Duration::from_millis(self.created_at_ms))
    }
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
        let mut secrets = BTreeMap::new();
        for (name, versions) in document.secrets {
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
        Ok(Self { secrets })
    }

    /// Returns the JSON text of this index.
    pub(super) fn to_text(&self) -> Zeroizing<Vec<u8>> {
        let secrets = self.secrets.iter();
        let secrets = secrets
            .map(|(id, versions)| (id.as_str().to_owned(), versions.clone()))
            .collect();
        let document = Document {
            format: FORMAT,
            secrets,
        };
        let text = serde_json::to_vec(&document);
        Zeroizing::new(text.expect("string keys and plain structs always have a JSON form"))
    }

    /// Returns the current version of a secret.
    pub(super) fn current(&self, id: &Id) -> Option<&Record> {
        self.secrets.get(id).and_then(|versions| versions.last())
    }

    /// Appends a version and removes the oldest ones beyond `max_versions`.
    pub(super) fn push(&mut self, id: &Id, record: Record, max_versions: usize) {
        let versions = self.secrets.entry(id.clone()).or_default();
        versions.push(record);
        let surplus = versions.len().saturating_sub(max_versions);
        versions.drain(..surplus);
    }

    /// Returns the names of all files in use.
    pub(super) fn files(&self) -> HashSet<&str> {
        self.secrets
            .values()
            .flatten()
            .map(|record| record.file.as_str())
            .collect()
    }
}

/// Returns `true` for a name in the form of [`random_name`](super::private::random_name), which cannot lead out of the
/// directory.
pub(super) fn is_random_name(file: &str) -> bool {
    file.len() == 32 && file.bytes().all(|byte| byte.is_ascii_hexdigit())
}
