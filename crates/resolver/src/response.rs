//! The results of queries and other calls.

use std::collections::BTreeMap;
use std::time::SystemTime;

use keyway_proto::InvalidEnvelope;
use keyway_secrets::{Envelope, Id, Pattern};

use crate::ProviderFailure;

/// The result of a query: the certain secrets that match a pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Secrets {
    /// The secrets in the order of provider names. Two providers may both have the same id.
    pub envelopes: Vec<Envelope>,
    /// The providers that failed. The secrets that they hold, and those that they could overrule, are missing here.
    pub failures: Vec<ProviderFailure>,
    /// Parts of the response that are not requested secrets.
    pub rejected: Vec<Rejected>,
}

impl Secrets {
    /// Returns `true` if no provider failed and nothing was rejected.
    pub fn is_complete(&self) -> bool {
        self.failures.is_empty() && self.rejected.is_empty()
    }

    /// Returns the names of the providers that failed.
    pub fn failed_providers(&self) -> Vec<String> {
        let names = self.failures.iter().map(|failure| failure.name.clone());
        names.filter(|name| !name.is_empty()).collect()
    }
}

/// A part of a response that is not a requested secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejected {
    /// An invalid envelope.
    #[error(transparent)]
    Invalid(#[from] InvalidEnvelope),
    /// A secret that the pattern does not match.
    #[error("{id} was sent but not requested")]
    NotRequested {
        /// The id of the secret.
        id: Id,
    },
}

/// The result of [`Resolver::authorize`](crate::Resolver::authorize).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Authorization {
    /// `true` if all patterns may be read.
    pub allowed: bool,
    /// Expiry of the authorization; `None` if the daemon sent no time.
    pub expires_at: Option<SystemTime>,
}

/// The result of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Catalog {
    /// The secrets in the order of provider names.
    pub entries: Vec<Entry>,
    /// The providers whose secrets are not listed.
    pub unlisted: Vec<Unlisted>,
    /// The providers that failed, in rank order; those that cannot list are not included.
    pub failures: Vec<ProviderFailure>,
    /// Error texts of the invalid entries of the response.
    pub rejected: Vec<String>,
}

/// One secret without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The id of the secret.
    pub id: Id,
    /// Name of the plugin that provides it.
    pub provider: String,
    /// The provider's version of the secret; often empty.
    pub version: String,
    /// Creation time of the secret.
    pub created_at: Option<SystemTime>,
    /// Expiry of the secret.
    pub expires_at: Option<SystemTime>,
    /// Provider-specific metadata.
    pub metadata: BTreeMap<String, String>,
}

/// A provider whose secrets are not in the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unlisted {
    /// Name of the plugin.
    pub provider: String,
    /// The realm of the provider; `None` if the daemon does not report it.
    pub realm: Option<Pattern>,
    /// The reason why the provider is not listed.
    pub reason: UnlistedReason,
    /// Details for the user; often empty.
    pub message: String,
}

/// The reason why a provider is not in a catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnlistedReason {
    /// The provider cannot list.
    CannotList,
    /// The provider failed.
    Failed,
    /// The daemon gives a reason that this crate does not know.
    Unknown,
}
