//! The trait of a secrets provider.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::SystemTime;

use keyway_secrets::{Envelope, Id, Pattern};

use crate::{
    Description, NewVersion, ProviderError, Query, Removal, Removed, StoredVersion, Target,
    WriteError,
};

/// A provider of secrets: the one trait that a plugin implements.
///
/// Methods are called concurrently, on one thread: blocking work (a slow disk, a C library) belongs into
/// [`blocking`](crate::blocking), other programs into [`command`](crate::command). A method that keeps the thread for two
/// seconds is named in the log; while it does, no other call is served, and a daemon whose ping is
/// not acknowledged within 10 s ends the connection. When a call is cancelled or its deadline passes, the future is dropped at its next
/// await. A panic fails one call; the plugin continues.
///
/// ```
/// use keyway_plugin_sdk::{Envelope, Pattern, ProviderError, Query, SecretsProvider};
///
/// struct Greeting;
///
/// impl SecretsProvider for Greeting {
///     fn pattern(&self) -> Pattern {
///         Pattern::everything()
///     }
///
///     async fn get_secrets(&self, query: &Query) -> Result<Vec<Envelope>, ProviderError> {
///         let id = "demo/greeting".parse()?;
///         Ok(if query.matches(&id) { vec![Envelope::new(id, "hello")] } else { vec![] })
///     }
/// }
/// ```
pub trait SecretsProvider: Send + Sync + 'static {
    /// Returns the *realm* of this provider: the ids that it can return. Called once, before registration.
    ///
    /// The daemon queries only ids in the realm, and drops returned secrets outside of it.
    fn pattern(&self) -> Pattern;

    /// Returns the realm as several patterns, at most 64. Default: [`pattern`](Self::pattern) alone.
    ///
    /// A provider of several patterns is registered with their common leading components and `**`, for daemons that support
    /// one pattern only; `pattern` is then ignored.
    fn patterns(&self) -> Vec<Pattern> {
        vec![self.pattern()]
    }

    /// Returns the description: concurrency limit, whether a call may prompt the user, a text for the user. Called once,
    /// before registration.
    fn describe(&self) -> Description {
        Description::new()
    }

    /// Returns the plugin's version, a Go semver such as `v1.2.3`; [`version!`](crate::version) converts the version in
    /// `Cargo.toml`. Default: `v0.0.0`.
    fn version(&self) -> &str {
        "v0.0.0"
    }

    /// Returns all secrets that match the query. An empty list states that the store was read and holds no match.
    ///
    /// Secrets that do not match are dropped with a warning, so that a mistake here discloses nothing beyond the query.
    ///
    /// # Errors
    ///
    /// Returns a [`ProviderError`] if the store could not be read. A provider that cannot enumerate returns
    /// [`cannot_list`](ProviderError::cannot_list) for a pattern, as [`Query::require_id`] does, and never an empty list. If only
    /// some secrets could be read, return those and call [`Query::incomplete`].
    ///
    /// # Cancel safety
    ///
    /// The future is dropped at its next await when the caller's deadline passes or the call is cancelled.
    fn get_secrets(
        &self,
        query: &Query,
    ) -> impl Future<Output = Result<Vec<Envelope>, ProviderError>> + Send;

    /// Lists the secrets that match the query, without their values. Default: this provider cannot list.
    ///
    /// Must have no side effect that a user would notice: no prompt, no use of a quota.
    ///
    /// # Errors
    ///
    /// Returns a [`ProviderError`] as [`get_secrets`](Self::get_secrets) does.
    ///
    /// # Cancel safety
    ///
    /// As [`get_secrets`](Self::get_secrets).
    fn list_secrets(
        &self,
        query: &Query,
    ) -> impl Future<Output = Result<Vec<Listed>, ProviderError>> + Send {
        let _ = query;
        async {
            Err(ProviderError::cannot_list(
                "this provider cannot list its secrets",
            ))
        }
    }

    /// Stores a value as the current version of a secret, and returns that version. Default: this provider does not store.
    ///
    /// Called only if the [description](Self::describe) says that the provider [stores](Description::stores).
    ///
    /// # Errors
    ///
    /// Returns a [`WriteError`]; nothing was stored then. If that is not known, the call must not return but run into its
    /// deadline.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped at its next await when the deadline passes or the caller leaves. A write that has begun by then still
    /// has to be complete or undone: run it in [`blocking`](crate::blocking) or in a task.
    fn set_secret(
        &self,
        target: &Target,
        version: NewVersion,
    ) -> impl Future<Output = Result<String, WriteError>> + Send {
        let _ = (target, version);
        async { Err(stores_nothing()) }
    }

    /// Removes a secret, or one version of it. Default: this provider does not store.
    ///
    /// # Errors
    ///
    /// Returns a [`WriteError`] as [`set_secret`](Self::set_secret) does, of kind [`NotFound`](crate::ErrorKind::NotFound) if
    /// there is no such secret or version.
    ///
    /// # Cancel safety
    ///
    /// As [`set_secret`](Self::set_secret).
    fn remove_secret(
        &self,
        target: &Target,
        removal: Removal,
    ) -> impl Future<Output = Result<Removed, WriteError>> + Send {
        let _ = (target, removal);
        async { Err(stores_nothing()) }
    }

    /// Lists the stored versions of a secret, newest first, those included that can be restored. An empty list states that
    /// there is none. Default: this provider does not store.
    ///
    /// # Errors
    ///
    /// Returns [`WriteError::Failed`] if the store could not be read.
    ///
    /// # Cancel safety
    ///
    /// As [`get_secrets`](Self::get_secrets).
    fn list_versions(
        &self,
        target: &Target,
    ) -> impl Future<Output = Result<Vec<StoredVersion>, WriteError>> + Send {
        let _ = target;
        async { Err(stores_nothing()) }
    }

    /// Stores the value of an earlier version as the current one, and returns the new version. Default: this provider does
    /// not store.
    ///
    /// # Errors
    ///
    /// Returns a [`WriteError`] as [`set_secret`](Self::set_secret) does, of kind [`NotFound`](crate::ErrorKind::NotFound) if
    /// that version is not stored.
    ///
    /// # Cancel safety
    ///
    /// As [`set_secret`](Self::set_secret).
    fn restore_version(
        &self,
        target: &Target,
        version: &str,
    ) -> impl Future<Output = Result<String, WriteError>> + Send {
        let _ = (target, version);
        async { Err(stores_nothing()) }
    }
}

fn stores_nothing() -> WriteError {
    ProviderError::denied("this provider does not store secrets").into()
}

/// A secret in a listing: everything but the value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listed {
    /// The name of the secret.
    pub id: Id,
    /// The provider's version of the secret; free text, often empty.
    pub version: String,
    /// Creation time of the secret.
    pub created_at: Option<SystemTime>,
    /// Expiry of the secret.
    pub expires_at: Option<SystemTime>,
    /// Provider-specific metadata. Not secret: it is printed.
    pub metadata: BTreeMap<String, String>,
}

impl Listed {
    /// Creates a listed secret with an id; all other fields are empty.
    #[must_use]
    pub fn new(id: Id) -> Self {
        Self {
            id,
            version: String::new(),
            created_at: None,
            expires_at: None,
            metadata: BTreeMap::new(),
        }
    }
}

/// Expands to the version in the crate's `Cargo.toml` as a Go semver: `v1.2.3`.
///
/// ```
/// assert!(keyway_plugin_sdk::version!().starts_with('v'));
/// ```
#[macro_export]
macro_rules! version {
    () => {
        concat!("v", env!("CARGO_PKG_VERSION"))
    };
}
