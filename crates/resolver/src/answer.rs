//! What a daemon answers, in types of this crate.

use std::collections::BTreeMap;
use std::time::SystemTime;

use keyway_proto::InvalidEnvelope;
use keyway_secrets::{Envelope, Id, Pattern};

use crate::ProviderFailure;

/// The secrets that a pattern matches, as far as they are certain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Secrets {
    /// The secrets, in the order of provider names. Two providers may both have the same id.
    pub envelopes: Vec<Envelope>,
    /// The providers that failed while others answered: what they hold, and what they could have overruled, is missing here.
    pub failures: Vec<ProviderFailure>,
    /// What was in the answer and is not one of the secrets asked for.
    pub rejected: Vec<Rejected>,
}

impl Secrets {
    /// Whether every provider that was asked has answered, with nothing but secrets that were asked for.
    pub fn is_complete(&self) -> bool {
        self.failures.is_empty() && self.rejected.is_empty()
    }

    /// The names of the providers that failed.
    pub fn failed_providers(&self) -> Vec<String> {
        let names = self.failures.iter().map(|failure| failure.name.clone());
        names.filter(|name| !name.is_empty()).collect()
    }
}

/// Something in an answer that is not one of the secrets asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejected {
    /// An envelope that cannot be read.
    #[error(transparent)]
    Invalid(#[from] InvalidEnvelope),
    /// A secret that the pattern does not match.
    #[error("{id} was sent but not asked for")]
    NotAskedFor {
        /// Its id.
        id: Id,
    },
}

/// Whether secrets may be read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Authorization {
    /// The answer, for all patterns together.
    pub allowed: bool,
    /// How long it holds, when the daemon says so.
    pub expires_at: Option<SystemTime>,
}

/// What there is to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Catalog {
    /// The secrets, in the order of provider names.
    pub entries: Vec<Entry>,
    /// The providers that gave no list.
    pub unlisted: Vec<Unlisted>,
    /// The providers that failed, in rank order; those that cannot list are not among them.
    pub failures: Vec<ProviderFailure>,
    /// Entries of the answer that could not be read, each with its reason.
    pub rejected: Vec<String>,
}

/// One secret without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Its name.
    pub id: Id,
    /// The plugin that provides it.
    pub provider: String,
    /// The provider's version of it; often empty.
    pub version: String,
    /// When it was made.
    pub created_at: Option<SystemTime>,
    /// When it stops being valid.
    pub expires_at: Option<SystemTime>,
    /// What else the provider says of it.
    pub metadata: BTreeMap<String, String>,
}

/// A provider whose secrets are not in the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unlisted {
    /// The plugin's name.
    pub provider: String,
    /// The ids that it answers for, when the daemon says so.
    pub realm: Option<Pattern>,
    /// Why.
    pub reason: UnlistedReason,
    /// More about that, for people; often empty.
    pub message: String,
}

/// Why a provider is not in a catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnlistedReason {
    /// It has no way to list.
    CannotList,
    /// It failed to.
    Failed,
    /// The daemon gives a reason that this crate does not know.
    Unknown,
}
