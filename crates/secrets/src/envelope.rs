//! A secret value with its metadata.

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::{Id, SecretValue};

/// A secret with its id and metadata, as providers return it.
///
/// A time is `None` if it is not known or, for [`expires_at`](Self::expires_at), if the secret does not expire.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Envelope {
    /// The name of the secret.
    pub id: Id,
    /// The bytes of the secret.
    pub value: SecretValue,
    /// The name of the plugin that provided it. A daemon overwrites the value that a plugin sets.
    pub provider: String,
    /// The provider's version of the secret; free text, often empty.
    pub version: String,
    /// Creation time of the secret.
    pub created_at: Option<SystemTime>,
    /// The time when the provider resolved it.
    pub resolved_at: Option<SystemTime>,
    /// Expiry of the secret.
    pub expires_at: Option<SystemTime>,
    /// Provider-specific metadata. Not secret: it may be printed.
    pub metadata: BTreeMap<String, String>,
}

impl Envelope {
    /// Creates an envelope with an id and a value; all other fields are empty.
    ///
    /// ```
    /// use keyway_secrets::Envelope;
    /// use std::time::{Duration, SystemTime};
    ///
    /// let mut envelope = Envelope::new("api/token".parse()?, "not-a-real-token");
    /// envelope.version = "7".to_owned();
    /// envelope.expires_at = Some(SystemTime::now() + Duration::from_secs(60));
    /// # Ok::<(), keyway_secrets::ParseIdError>(())
    /// ```
    pub fn new(id: Id, value: impl Into<SecretValue>) -> Self {
        Self {
            id,
            value: value.into(),
            provider: String::new(),
            version: String::new(),
            created_at: None,
            resolved_at: None,
            expires_at: None,
            metadata: BTreeMap::new(),
        }
    }

    /// Returns `true` if the secret had expired at `now`.
    pub fn is_expired(&self, now: SystemTime) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn debug_shows_metadata_but_not_the_value() {
        let mut envelope = Envelope::new("a/b".parse().unwrap(), "canary-value");
        envelope
            .metadata
            .insert("owner".to_owned(), "ops".to_owned());
        let text = format!("{envelope:?}");
        assert!(text.contains("a/b") && text.contains("ops"), "{text}");
        assert!(!text.contains("canary"), "{text}");
    }

    #[test]
    fn a_secret_is_expired_from_expires_at_on() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(10);
        let mut envelope = Envelope::new("a".parse().unwrap(), "x");
        assert!(!envelope.is_expired(at));
        envelope.expires_at = Some(at);
        assert!(envelope.is_expired(at));
        assert!(!envelope.is_expired(at - Duration::from_secs(1)));
    }
}
