//! The listing of `keyway ls`: built from a catalog, from secrets or from realms, depending on what the daemon supports.

use std::collections::BTreeMap;

use futures::future::join_all;
use keyway_resolver::{
    Catalog, Entry, Envelope, FailureKind, Pattern, ProviderFailure, ResolveError, Secrets,
    Unlisted, UnlistedReason,
};
use serde::Serialize;

use crate::daemon::{self, Daemon, QueryContext};
use crate::failure::Failure;
use crate::inventory::{self, Kind, Plugin, Status};
use crate::output::{Table, rfc3339};

/// The output of `keyway ls --json` and the content of its table.
#[derive(Debug, Default, Serialize)]
pub(super) struct Listing {
    pub(super) secrets: Vec<ListedSecret>,
    pub(super) unlisted: Vec<UnlistedProvider>,
    /// The providers that failed.
    #[serde(skip)]
    pub(super) failures: Vec<ProviderFailure>,
    /// Irregularities of the responses, for stderr.
    #[serde(skip)]
    pub(super) notes: Vec<String>,
}

/// One secret.
#[derive(Debug, Serialize)]
pub(super) struct ListedSecret {
    id: String,
    provider: String,
    version: String,
    created_at: Option<String>,
    expires_at: Option<String>,
    metadata: BTreeMap<String, String>,
}

/// A provider whose secrets are not listed.
#[derive(Debug, Serialize)]
pub(super) struct UnlistedProvider {
    provider: String,
    realm: Option<String>,
    /// `cannot_list`, `failed`, `turned_off`, `available` or `untrusted`.
    pub(super) reason: &'static str,
    message: String,
}

impl UnlistedProvider {
    fn new(plugin: &Plugin, reason: &'static str) -> Self {
        Self {
            provider: plugin.name.clone(),
            realm: Some(plugin.realms.join(", ")).filter(|realm| !realm.is_empty()),
            reason,
            message: String::new(),
        }
    }
}

impl Listing {
    /// Loads the listing from the daemon. With `fetch` the secrets of providers that cannot list are read.
    ///
    /// # Errors
    ///
    /// Returns the [`Failure`] of the query if the daemon returns neither a list nor failed providers.
    pub(super) async fn load(
        context: QueryContext<'_>,
        pattern: &Pattern,
        fetch: bool,
    ) -> Result<Self, Failure> {
        let daemon = context.daemon;
        let mut listing = match daemon.list(pattern).await {
            Ok(catalog) => Self::from_catalog(daemon, pattern, catalog, fetch).await,
            // Other implementations have no catalog.
            Err(ResolveError::Unsupported { .. }) if fetch => {
                Self::from_secrets(context, pattern).await?
            }
            Err(ResolveError::Unsupported { .. }) => {
                return Self::from_realms(daemon, pattern).await;
            }
            Err(ResolveError::NotFound { .. }) => Self::default(),
            Err(ResolveError::Uncertain { mut failures, .. }) if !failures.is_empty() => {
                failures.retain(|failure| fetch || failure.kind != FailureKind::CannotList);
                Self {
                    failures,
                    ..Self::default()
                }
            }
            Err(error) => return Err(context.failure(pattern, error).await),
        };
        match inventory::list(daemon).await {
            Ok(plugins) => listing.add_excluded(&plugins, pattern),
            Err(error) => {
                let note = format!("the disabled providers are not known: {error}");
                listing.notes.push(note);
            }
        }
        listing.add_failed();
        Ok(listing)
    }

    /// Adds the providers that are not candidates until the user enables or trusts them.
    fn add_excluded(&mut self, plugins: &[Plugin], pattern: &Pattern) {
        let excluded = plugins.iter().filter(|plugin| plugin.is_excluded());
        let excluded = excluded.filter(|plugin| plugin.may_match(pattern));
        self.unlisted.extend(excluded.map(|plugin| {
            let reason = match plugin.status {
                Status::Available => "available",
                Status::Untrusted => "untrusted",
                _ => "turned_off",
            };
            UnlistedProvider::new(plugin, reason)
        }));
        self.unlisted.sort_by(|a, b| a.provider.cmp(&b.provider));
    }

    /// Adds the failed providers that the daemon has not listed.
    fn add_failed(&mut self) {
        for failure in &self.failures {
            let is_listed = |unlisted: &UnlistedProvider| unlisted.provider == failure.name;
            let has_failed = failure.kind != FailureKind::Conflict && !failure.name.is_empty();
            if has_failed && !self.unlisted.iter().any(is_listed) {
                self.unlisted.push(UnlistedProvider {
                    provider: failure.name.clone(),
                    realm: None,
                    reason: "failed",
                    message: failure.message.clone(),
                });
            }
        }
        self.unlisted.sort_by(|a, b| a.provider.cmp(&b.provider));
    }

    /// Builds the listing from a catalog. With `fetch` the secrets of unlisted providers are read.
    async fn from_catalog(
        daemon: &Daemon,
        pattern: &Pattern,
        catalog: Catalog,
        fetch: bool,
    ) -> Self {
        let mut listing = Self {
            secrets: catalog
                .entries
                .into_iter()
                .map(ListedSecret::from)
                .collect(),
            failures: catalog.failures,
            notes: catalog.rejected,
            ..Self::default()
        };
        let (fetched, others): (Vec<_>, Vec<_>) = catalog
            .unlisted
            .into_iter()
            .partition(|unlisted| fetch && unlisted.reason != UnlistedReason::Failed);
        for unlisted in others {
            listing.add_unlisted(unlisted);
        }
        listing.add_fetched(daemon, pattern, fetched).await;
        listing.sort();
        listing
    }

    /// Reads the secrets of providers that cannot list them. Those that cannot list a pattern either stay unlisted.
    async fn add_fetched(&mut self, daemon: &Daemon, pattern: &Pattern, fetched: Vec<Unlisted>) {
        let results = fetched
            .iter()
            .map(|unlisted| fetch_one(daemon, pattern, unlisted));
        for (unlisted, result) in fetched.iter().zip(join_all(results).await) {
            match result {
                Ok(secrets) => {
                    let own = secrets.envelopes.into_iter();
                    let own = own.filter(|envelope| envelope.provider == unlisted.provider);
                    self.secrets.extend(own.map(ListedSecret::from));
                    self.add_failures(secrets.failures);
                }
                Err(error) => {
                    // A provider without a result counts as failed.
                    let mut failure = ProviderFailure::default();
                    failure.name.clone_from(&unlisted.provider);
                    failure.message = error.to_string();
                    self.add_failures(vec![failure]);
                }
            }
        }
        for unlisted in fetched {
            let cannot_list = |failure: &ProviderFailure| {
                failure.name == unlisted.provider && failure.kind == FailureKind::CannotList
            };
            if self.failures.iter().any(cannot_list) {
                self.add_unlisted(unlisted);
            }
        }
    }

    /// Builds the listing from the secrets themselves, for daemons without a catalog.
    async fn from_secrets(context: QueryContext<'_>, pattern: &Pattern) -> Result<Self, Failure> {
        let secrets = match recover_failures(context.daemon.get(pattern).await) {
            Ok(secrets) => secrets,
            Err(error) => return Err(context.failure(pattern, error).await),
        };
        let mut listing = Self {
            secrets: secrets
                .envelopes
                .into_iter()
                .map(ListedSecret::from)
                .collect(),
            failures: secrets.failures,
            ..Self::default()
        };
        listing.sort();
        Ok(listing)
    }

    /// Builds the listing from the realms of the plugins, for daemons without a catalog.
    async fn from_realms(daemon: &Daemon, pattern: &Pattern) -> Result<Self, Failure> {
        let plugins = inventory::list(daemon).await;
        let plugins = plugins.map_err(daemon::request_failure)?;
        let mut listing = Self::default();
        let providers = plugins.iter().filter(|plugin| {
            plugin.kind == Kind::Provider && !plugin.is_excluded() && plugin.may_match(pattern)
        });
        let unlisted = providers.map(|plugin| UnlistedProvider::new(plugin, "cannot_list"));
        listing.unlisted.extend(unlisted);
        listing.add_excluded(&plugins, pattern);
        Ok(listing)
    }

    /// Adds failures, each provider once.
    fn add_failures(&mut self, failures: Vec<ProviderFailure>) {
        for failure in failures {
            if self.failures.iter().all(|known| known.name != failure.name) {
                self.failures.push(failure);
            }
        }
    }

    fn sort(&mut self) {
        self.secrets
            .sort_by(|a, b| (&a.id, &a.provider).cmp(&(&b.id, &b.provider)));
    }

    fn add_unlisted(&mut self, unlisted: Unlisted) {
        let has_failed = unlisted.reason == UnlistedReason::Failed;
        self.unlisted.push(UnlistedProvider {
            provider: unlisted.provider,
            realm: unlisted.realm.map(|realm| realm.to_string()),
            reason: if has_failed { "failed" } else { "cannot_list" },
            message: unlisted.message,
        });
    }

    /// Formats the table of all secrets and unlisted providers.
    pub(super) fn table(&self) -> Table {
        let mut table = Table::new(["ID", "PROVIDER", "VERSION"]);
        for secret in &self.secrets {
            table.push([&secret.id, &secret.provider, &secret.version]);
        }
        for unlisted in &self.unlisted {
            let realm = unlisted.realm.as_deref().unwrap_or_default();
            let note = match (unlisted.reason, unlisted.message.as_str()) {
                ("failed", "") => "failed".to_owned(),
                ("failed", message) => format!("failed: {message}"),
                ("turned_off", _) => "turned off".to_owned(),
                ("available", _) => "available".to_owned(),
                ("untrusted", _) => "untrusted".to_owned(),
                _ => "cannot list".to_owned(),
            };
            table.push([realm, &unlisted.provider, &note]);
        }
        table
    }
}

/// Reads the secrets of one provider that cannot list them.
async fn fetch_one(
    daemon: &Daemon,
    pattern: &Pattern,
    unlisted: &Unlisted,
) -> Result<Secrets, ResolveError> {
    let realm = unlisted.realm.as_ref();
    let narrower = realm.and_then(|realm| realm.intersection(pattern));
    recover_failures(daemon.get(narrower.as_ref().unwrap_or(pattern)).await)
}

/// Converts an error about missing or uncertain secrets into an empty result with the failed providers.
fn recover_failures(result: Result<Secrets, ResolveError>) -> Result<Secrets, ResolveError> {
    let failures = match result {
        Err(ResolveError::NotFound { .. }) => Vec::new(),
        Err(ResolveError::Uncertain { failures, .. } | ResolveError::Conflict { failures, .. }) => {
            failures
        }
        result => return result,
    };
    let mut secrets = Secrets::default();
    secrets.failures = failures;
    Ok(secrets)
}

impl From<Entry> for ListedSecret {
    fn from(entry: Entry) -> Self {
        Self {
            id: entry.id.into(),
            provider: entry.provider,
            version: entry.version,
            created_at: entry.created_at.map(rfc3339),
            expires_at: entry.expires_at.map(rfc3339),
            metadata: entry.metadata,
        }
    }
}

/// Drops, and so zeroizes, the value.
impl From<Envelope> for ListedSecret {
    fn from(envelope: Envelope) -> Self {
        Self {
            id: envelope.id.into(),
            provider: envelope.provider,
            version: envelope.version,
            created_at: envelope.created_at.map(rfc3339),
            expires_at: envelope.expires_at.map(rfc3339),
            metadata: envelope.metadata,
        }
    }
}
