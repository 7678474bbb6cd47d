//! The rules of a write, shared by the daemon, the plugin SDK and clients.

use std::collections::BTreeMap;
use std::time::SystemTime;

use keyway_secrets::{Id, ParseIdError};

use crate::keyway::store::v1::{Refusal, Version, refusal};
use crate::limits::{MAX_METADATA_ENTRIES, MAX_METADATA_LEN, MAX_VALUE_LEN};
use crate::timestamp;

/// The version that a write expects to be the current one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_enums,
    reason = "the wire has no further case: absent, empty, a version"
)]
pub enum Expected {
    /// Any version, or none.
    #[default]
    Any,
    /// None: the secret must not exist.
    Absent,
    /// This version.
    Version(String),
}

impl Expected {
    /// Reads the field `expected_version` of a request.
    #[must_use]
    pub fn from_wire(expected_version: Option<String>) -> Self {
        match expected_version {
            None => Self::Any,
            Some(version) if version.is_empty() => Self::Absent,
            Some(version) => Self::Version(version),
        }
    }

    /// Returns the field `expected_version` of a request.
    #[must_use]
    pub fn into_wire(self) -> Option<String> {
        match self {
            Self::Any => None,
            Self::Absent => Some(String::new()),
            Self::Version(version) => Some(version),
        }
    }

    /// Returns `true` if a write may replace the `current` version, which is `None` if the secret does not exist.
    #[must_use]
    pub fn permits(&self, current: Option<&str>) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => current.is_none(),
            Self::Version(version) => current == Some(version),
        }
    }
}

/// One version of a secret, without its value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredVersion {
    /// The version, in the provider's own form.
    pub version: String,
    /// The time when it was stored; `None` if that is not known.
    pub created_at: Option<SystemTime>,
    /// The time when it was removed; `None` unless it was. Such a version can be restored.
    pub removed_at: Option<SystemTime>,
    /// Attributes of the version; not secret.
    pub metadata: BTreeMap<String, String>,
}

impl StoredVersion {
    /// Creates a version; all other fields are empty.
    #[must_use]
    pub fn new(version: impl Into<String>) -> Self {
        Self {
            version: version.into(),
            ..Self::default()
        }
    }
}

impl From<StoredVersion> for Version {
    fn from(version: StoredVersion) -> Self {
        Self {
            version: Some(version.version),
            created_at: Some(timestamp::to_wire(version.created_at)),
            metadata: version.metadata,
            removed_at: Some(timestamp::to_wire(version.removed_at)),
        }
    }
}

/// The rule that a request to write breaks. It repeats nothing of the request: a value may be in the wrong place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidWrite {
    /// The id is missing or invalid.
    #[error("the id is not valid: {0}")]
    Id(ParseIdError),
    /// The value is too long.
    #[error("the value has {len} bytes; at most {MAX_VALUE_LEN} are allowed")]
    ValueTooLong {
        /// The length of the value in bytes.
        len: usize,
    },
    /// The metadata has too many entries.
    #[error("the metadata has {count} entries; at most {MAX_METADATA_ENTRIES} are allowed")]
    TooManyEntries {
        /// The number of entries.
        count: usize,
    },
    /// The metadata is too long.
    #[error("the metadata has {len} bytes; at most {MAX_METADATA_LEN} are allowed")]
    MetadataTooLong {
        /// The length of all keys and values in bytes.
        len: usize,
    },
    /// The request names no version.
    #[error("the request names no version")]
    NoVersion,
}

/// Parses the id of a request to write.
///
/// # Errors
///
/// Returns [`InvalidWrite::Id`] if the text is not an id.
pub fn check_id(text: &str) -> Result<Id, InvalidWrite> {
    text.parse().map_err(InvalidWrite::Id)
}

/// Checks a value of `value_len` bytes and its metadata: a secret that a query could return may be stored.
///
/// # Errors
///
/// Returns the first rule that is broken.
pub fn check_content(
    value_len: usize,
    metadata: &BTreeMap<String, String>,
) -> Result<(), InvalidWrite> {
    if value_len > MAX_VALUE_LEN {
        return Err(InvalidWrite::ValueTooLong { len: value_len });
    }
    let count = metadata.len();
    if count > MAX_METADATA_ENTRIES {
        return Err(InvalidWrite::TooManyEntries { count });
    }
    // Each entry is framed as a message of two texts.
    let entries = metadata.iter();
    let lens = entries.map(|(key, value)| key.len() + value.len() + MAX_ENTRY_FRAME);
    let len = lens.sum();
    if len > MAX_METADATA_LEN {
        return Err(InvalidWrite::MetadataTooLong { len });
    }
    Ok(())
}

/// The most bytes that an entry of the metadata takes on the wire beside its key and its value: three tags and three lengths.
const MAX_ENTRY_FRAME: usize = 12;

impl Refusal {
    /// The refusal of a write whose [`Expected`] does not permit the current version.
    #[must_use]
    pub fn of_version(current: Option<&str>) -> Self {
        Self {
            reason: Some(refusal::Reason::Version.into()),
            current_version: Some(current.unwrap_or_default().to_owned()),
            providers: Vec::new(),
        }
    }

    /// The refusal of a write whose value these providers outrank or equal.
    #[must_use]
    pub fn of_providers(providers: Vec<String>) -> Self {
        Self {
            reason: Some(refusal::Reason::Outranked.into()),
            current_version: None,
            providers,
        }
    }

    /// Returns the refusal in the details of an error.
    #[cfg(any(feature = "client", feature = "server"))]
    #[must_use]
    pub fn of_error(error: &keyway_rpc::Error) -> Option<Self> {
        let mut details = error.details().iter();
        details.find_map(|detail| detail.decode().ok().flatten())
    }

    /// Converts into the error of the RPC: `already_exists` if the write expected that the secret does not exist, else
    /// `failed_precondition`.
    #[cfg(any(feature = "client", feature = "server"))]
    #[must_use]
    pub fn into_error(self, expected: &Expected, message: impl Into<String>) -> keyway_rpc::Error {
        let code = match (self.reason(), expected) {
            (refusal::Reason::Version, Expected::Absent) => keyway_rpc::Code::AlreadyExists,
            _ => keyway_rpc::Code::FailedPrecondition,
        };
        keyway_rpc::Error::new(code, message.into())
            .with_detail(keyway_rpc::ErrorDetail::new(&self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expected_version_permits_that_version_alone() {
        for (expected, wire, permits_none, permits_3, permits_4) in [
            (Expected::Any, None, true, true, true),
            (Expected::Absent, Some(""), true, false, false),
            (
                Expected::Version("3".to_owned()),
                Some("3"),
                false,
                true,
                false,
            ),
        ] {
            let wire = wire.map(str::to_owned);
            assert_eq!(Expected::from_wire(wire.clone()), expected);
            assert_eq!(
                (
                    expected.permits(None),
                    expected.permits(Some("3")),
                    expected.permits(Some("4"))
                ),
                (permits_none, permits_3, permits_4),
                "{expected:?}"
            );
            assert_eq!(expected.into_wire(), wire);
        }
    }

    #[test]
    fn content_within_the_limits_is_valid_and_beyond_each_is_not() {
        let entries = |count: usize, len: usize| -> BTreeMap<String, String> {
            let entries = 0..count;
            entries.map(|n| (n.to_string(), "v".repeat(len))).collect()
        };
        assert_eq!(check_content(MAX_VALUE_LEN, &entries(64, 100)), Ok(()));
        for (value_len, metadata, message) in [
            (
                MAX_VALUE_LEN + 1,
                entries(0, 0),
                "the value has 8388609 bytes; at most 8388608 are allowed",
            ),
            (
                0,
                entries(65, 0),
                "the metadata has 65 entries; at most 64 are allowed",
            ),
            (
                0,
                entries(1, MAX_METADATA_LEN),
                "the metadata has 16397 bytes; at most 16384 are allowed",
            ),
        ] {
            let error = check_content(value_len, &metadata).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn an_invalid_id_is_not_repeated() {
        let error = check_id("token=canary-value").unwrap_err();
        assert!(!error.to_string().contains("canary"), "{error}");
    }

    #[cfg(feature = "client")]
    #[test]
    fn a_refusal_survives_the_error_that_carries_it() {
        use keyway_rpc::Code;

        for (refusal, expected, code) in [
            (
                Refusal::of_version(Some("3")),
                Expected::Absent,
                Code::AlreadyExists,
            ),
            (
                Refusal::of_version(None),
                Expected::Version("2".to_owned()),
                Code::FailedPrecondition,
            ),
            (
                Refusal::of_providers(vec!["vault".to_owned()]),
                Expected::Absent,
                Code::FailedPrecondition,
            ),
        ] {
            let error = refusal.clone().into_error(&expected, "refused");
            assert_eq!(error.code(), code);
            assert_eq!(Refusal::of_error(&error), Some(refusal));
        }
        assert_eq!(
            Refusal::of_error(&keyway_rpc::Error::not_found("none")),
            None
        );
    }
}
