//! What an author implements to provide secrets.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, SystemTime};

use keyway_rpc::Claim;
use keyway_secrets::{Envelope, Id, Pattern};
use tokio::time::Instant;

use crate::ProviderError;

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

    /// The plugin's version, a Go semver such as `v1.2.3`; [`version!`](crate::version) makes one from the version in
    /// `Cargo.toml`. Default: `v0.0.0`.
    fn version(&self) -> &str {
        "v0.0.0"
    }

    /// All secrets that match the query; none is not an error.
    ///
    /// What does not match is dropped with a warning, so that a mistake here discloses nothing that nobody asked for.
    fn get_secrets(
        &self,
        query: &Query,
    ) -> impl Future<Output = Result<Vec<Envelope>, ProviderError>> + Send;

    /// What there is, without the values. Default: this provider cannot list.
    ///
    /// Should cost nothing that a user would notice: no prompt, no quota.
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

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Query {
    pattern: Pattern,
    deadline: Instant,
    /// What the answer takes of the memory that is set aside; nothing is counted in a test of the author's own.
    claim: Option<Claim>,
}

impl Query {
    /// A query that must be answered within `time`.
    ///
    /// The SDK makes these; an author needs one to test a provider.
    #[must_use]
    pub fn new(pattern: Pattern, time: Duration) -> Self {
        Self {
            pattern,
            deadline: Instant::now() + time,
            claim: None,
        }
    }

    pub(crate) fn until(pattern: Pattern, deadline: Instant, claim: Claim) -> Self {
        Self {
            pattern,
            deadline,
            claim: Some(claim),
        }
    }

    /// Waits until there is room for values of so many bytes. Call it before large values are made, so that many large
    /// answers at once cannot fill the memory; what was reserved is free again when the answer was sent.
    ///
    /// Up to 64 KiB nothing is counted. The room of all answers together is that of
    /// [`Plugin::answer_memory`](crate::Plugin::answer_memory); who wants more than that waits for all of it. The wait ends
    /// with the call, which is given up when its time is over. Only the first reservation of a query waits.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, nothing was reserved.
    pub async fn reserve(&self, bytes: u64) {
        if let Some(claim) = &self.claim {
            claim.take(bytes).await;
        }
    }

    /// The ids that are asked for: one id, or many at once.
    #[must_use]
    pub fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// Whether this id is asked for.
    #[must_use]
    pub fn matches(&self, id: &Id) -> bool {
        self.pattern.matches(id)
    }

    /// How long the caller still waits; zero when it has given up.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_time_left_runs_out() {
        let query = Query::new(Pattern::everything(), Duration::from_secs(3));
        assert_eq!(query.time_left(), Duration::from_secs(3));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(query.time_left(), Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(query.time_left(), Duration::ZERO);
    }
}
