//! A write as the provider receives it, and its result.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use keyway_proto::write::Expected;
use keyway_secrets::{Id, SecretValue};

use crate::ProviderError;
use crate::query::CallOptions;

/// A call of one of the methods that write, or of [`list_versions`](crate::SecretsProvider::list_versions): the secret and the
/// options of the call.
#[derive(Clone, Debug)]
pub struct Target {
    id: Id,
    options: CallOptions,
}

impl Target {
    /// Creates a target with a deadline `timeout` from now, for a unit test of a provider.
    #[must_use]
    pub fn new(id: Id, timeout: Duration) -> Self {
        Self::received(id, CallOptions::within(timeout))
    }

    pub(crate) fn received(id: Id, options: CallOptions) -> Self {
        Self { id, options }
    }

    /// Returns the secret's id. It is within the realm of the provider.
    #[must_use]
    pub fn id(&self) -> &Id {
        &self.id
    }

    /// Returns the deadline of the call. The daemon does not repeat a write whose response is late, and its client does not
    /// know whether it happened: begin nothing that the time is not enough for.
    #[must_use]
    pub fn deadline(&self) -> std::time::Instant {
        self.options.deadline().into_std()
    }

    /// Returns the time until the deadline; zero if it has passed.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.options.time_left()
    }

    /// Returns `true` if the provider may prompt the user; see [`Query::may_ask_user`](crate::Query::may_ask_user).
    #[must_use]
    pub fn may_ask_user(&self) -> bool {
        self.options.may_ask_user()
    }

    /// Returns the id of this request in the logs of the daemon: 16 hex digits. `None` if the daemon sent none.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.options.request_id()
    }
}

/// A value to store.
#[derive(Debug)]
#[non_exhaustive]
pub struct NewVersion {
    /// The value, at most 8 MiB. It is zeroed on drop.
    pub value: SecretValue,
    /// Attributes of the version; not secret. At most 64 entries and 16 KiB.
    pub metadata: BTreeMap<String, String>,
    /// The version that must be the current one; see [`WriteError::unexpected`].
    pub expected: Expected,
}

impl NewVersion {
    /// Creates a value without attributes that replaces any version.
    #[must_use]
    pub fn new(value: impl Into<SecretValue>) -> Self {
        Self {
            value: value.into(),
            metadata: BTreeMap::new(),
            expected: Expected::Any,
        }
    }

    /// Sets the version that must be the current one. Default: any.
    #[must_use]
    pub fn expecting(mut self, expected: Expected) -> Self {
        self.expected = expected;
        self
    }
}

/// The part of a secret that is removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Removal {
    /// The version to remove; `None`: the secret with all its versions.
    pub version: Option<String>,
    /// The version that must be the current one.
    pub expected: Expected,
}

/// The result of a removal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Removed {
    /// The number of removed versions.
    pub count: u32,
    /// `true` if [`restore_version`](crate::SecretsProvider::restore_version) can bring them back.
    pub restorable: bool,
}

impl Removed {
    /// Creates a result of `count` removed versions.
    #[must_use]
    pub fn new(count: u32, restorable: bool) -> Self {
        Self { count, restorable }
    }
}

/// Error of a write that changed nothing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum WriteError {
    /// The current version is not the expected one.
    UnexpectedVersion {
        /// The current version; `None` if the secret does not exist.
        current: Option<String>,
    },
    /// The store refused the write or could not do it. [`NotFound`](crate::ErrorKind::NotFound): there is no such secret or
    /// version. [`Invalid`](crate::ErrorKind::Invalid): the store cannot hold this id or value.
    Failed(ProviderError),
}

impl WriteError {
    /// Compares the current version with the expected one.
    ///
    /// A store that several programs write compares and writes in one step, and does not call this ahead of the write.
    ///
    /// ```
    /// use keyway_plugin_sdk::{Expected, WriteError};
    ///
    /// assert!(WriteError::unexpected(&Expected::Absent, None).is_ok());
    /// assert!(WriteError::unexpected(&Expected::Absent, Some("3")).is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`WriteError::UnexpectedVersion`] if they differ.
    pub fn unexpected(expected: &Expected, current: Option<&str>) -> Result<(), Self> {
        if expected.permits(current) {
            return Ok(());
        }
        let current = current.map(str::to_owned);
        Err(Self::UnexpectedVersion { current })
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnexpectedVersion {
                current: Some(version),
            } => write!(
                f,
                "the current version is {version}, which is not the expected one"
            ),
            Self::UnexpectedVersion { current: None } => {
                f.write_str("the secret does not exist, although a version of it is expected")
            }
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for WriteError {}

impl From<ProviderError> for WriteError {
    fn from(error: ProviderError) -> Self {
        Self::Failed(error)
    }
}
