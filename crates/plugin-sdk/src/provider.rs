//! What an author implements to provide secrets.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::SystemTime;

use keyway_secrets::{Envelope, Id, Pattern};

use crate::{Description, ProviderError, Query};

/// A provider of secrets: the one trait that a plugin implements.
///
/// Methods are called concurrently, on one thread: what blocks it (a slow disk, a C library) belongs into
/// [`blocking`](crate::blocking). When a caller gives up or its time is over, the future is dropped at its next await.
/// A panic fails the one call; the plugin lives on.
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
    /// The ids that this provider answers for: its *realm*. Asked once, at registration.
    ///
    /// The daemon asks only for ids in the realm, and drops what is answered outside of it.
    fn pattern(&self) -> Pattern;

    /// The realm as several patterns, at most 64. Default: [`pattern`](Self::pattern) alone.
    ///
    /// A provider of several patterns is registered with their common leading components and `**`, for daemons that know one
    /// pattern only; `pattern` is then not used.
    fn patterns(&self) -> Vec<Pattern> {
        vec![self.pattern()]
    }

    /// What else the daemon should know: how many calls at once, whether a call may ask the user, a text for the user. Asked
    /// once, at registration.
    fn describe(&self) -> Description {
        Description::new()
    }

    /// The plugin's version, a Go semver such as `v1.2.3`; [`version!`](crate::version) makes one from the version in
    /// `Cargo.toml`. Default: `v0.0.0`.
    fn version(&self) -> &str {
        "v0.0.0"
    }

    /// Returns all secrets that match the query. An empty list states that the store was asked and holds nothing that matches.
    ///
    /// What does not match is dropped with a warning, so that a mistake here discloses nothing that was not asked for.
    ///
    /// # Errors
    ///
    /// Returns a [`ProviderError`] if the store could not be asked. A provider that cannot enumerate returns
    /// [`cannot_list`](ProviderError::cannot_list) for a pattern, as [`Query::require_id`] does, and never an empty list. If only
    /// some secrets could be read, return those and call [`Query::incomplete`].
    fn get_secrets(
        &self,
        query: &Query,
    ) -> impl Future<Output = Result<Vec<Envelope>, ProviderError>> + Send;

    /// Lists what there is, without the values. Default: this provider cannot list.
    ///
    /// Must cost nothing that a user would notice: no prompt, no quota.
    ///
    /// # Errors
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
}

/// A secret in a listing: everything but the value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listed {
    /// The name of the secret.
    pub id: Id,
    /// The provider's version of it; free text, often empty.
    pub version: String,
    /// When it was made.
    pub created_at: Option<SystemTime>,
    /// When it stops being valid.
    pub expires_at: Option<SystemTime>,
    /// What else there is to say. Not secret: it is printed.
    pub metadata: BTreeMap<String, String>,
}

impl Listed {
    /// A secret of which nothing but its id is known.
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

/// The version in the crate's `Cargo.toml` as a Go semver: `v1.2.3`.
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
