//! `keyway ls`: which secrets there are and who provides them, never their values.

use std::collections::BTreeMap;

use clap::Args;
use futures::future::join_all;
use keyway_resolver::{
    Catalog, Entry, Envelope, FailureKind, Pattern, ProviderFailure, ResolveError, Secrets,
    Unlisted, UnlistedReason,
};
use serde::Serialize;

use crate::daemon::{self, Daemon, Session};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
use crate::inventory::{self, Kind, Plugin, Status};
use crate::names;
use crate::output::{self, Table, json, rfc3339};

/// Which secrets, and in which form.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Only the secrets that this pattern matches: `*` is one component, `**` any number of them.
    #[arg(default_value = "**", value_parser = names::pattern)]
    pattern: Pattern,
    /// Read the secrets of providers that cannot list theirs, to find out; their values are not printed.
    #[arg(long)]
    fetch: bool,
}

/// Prints what there is.
pub(crate) fn run(globals: &Globals, options: &Options) -> Result<Exit, Failure> {
    let pattern = &options.pattern;
    daemon::ask(globals, async |daemon| {
        let session = Session {
            daemon: &daemon,
            globals,
        };
        let listing = Listing::ask(session, pattern, options.fetch).await?;
        if globals.json {
            output::print_text(json::line(&listing))?;
        } else {
            output::print_text(listing.table())?;
            let is_off = |unlisted: &NotListed| unlisted.reason == "turned_off";
            if listing.secrets.is_empty() && listing.unlisted.iter().all(is_off) {
                output::note(format_args!("no secret matches {pattern}"));
            }
        }
        listing.notes.iter().for_each(output::note);
        let failed = session.failed(pattern, &listing.failures, true).await;
        failed.map_or(Ok(Exit::Done), Err)
    })
}

/// What `keyway ls --json` prints, and what it is made into a table of.
#[derive(Debug, Default, Serialize)]
struct Listing {
    secrets: Vec<Listed>,
    unlisted: Vec<NotListed>,
    /// Providers that should have answered and did not.
    #[serde(skip)]
    failures: Vec<ProviderFailure>,
    /// What was odd about the answers.
    #[serde(skip)]
    notes: Vec<String>,
}

/// One secret.
#[derive(Debug, Serialize)]
struct Listed {
    id: String,
    provider: String,
    version: String,
    created_at: Option<String>,
    expires_at: Option<String>,
    metadata: BTreeMap<String, String>,
}

/// A provider whose secrets are not in the list.
#[derive(Debug, Serialize)]
struct NotListed {
    provider: String,
    realm: Option<String>,
    /// `cannot_list`, `failed`, `turned_off`, `available` or `untrusted`.
    reason: &'static str,
    message: String,
}

impl NotListed {
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
    async fn ask(session: Session<'_>, pattern: &Pattern, fetch: bool) -> Result<Self, Failure> {
        let daemon = session.daemon;
        let mut listing = match daemon.list(pattern).await {
            Ok(catalog) => Self::of(daemon, pattern, catalog, fetch).await,
            // A daemon of another make has no catalog.
            Err(ResolveError::Unsupported { .. }) if fetch => {
                Self::fetched(session, pattern).await?
            }
            Err(ResolveError::Unsupported { .. }) => return Self::realms(daemon, pattern).await,
            Err(ResolveError::NotFound { .. }) => Self::default(),
            Err(ResolveError::Uncertain { mut failures, .. }) if !failures.is_empty() => {
                failures.retain(|failure| fetch || failure.kind != FailureKind::CannotList);
                Self {
                    failures,
                    ..Self::default()
                }
            }
            Err(error) => return Err(session.failure(pattern, error).await),
        };
        match inventory::list(daemon).await {
            Ok(plugins) => listing.add_excluded(&plugins, pattern),
            Err(error) => {
                let note = format!("whether a provider is turned off is not known: {error}");
                listing.notes.push(note);
            }
        }
        listing.add_failed();
        Ok(listing)
    }

    /// The providers that are no candidates until the user changes that.
    fn add_excluded(&mut self, plugins: &[Plugin], pattern: &Pattern) {
        let excluded = plugins.iter().filter(|plugin| plugin.is_excluded());
        let excluded = excluded.filter(|plugin| plugin.may_answer(pattern));
        self.unlisted.extend(excluded.map(|plugin| {
            let reason = match plugin.status {
                Status::Available => "available",
                Status::Untrusted => "untrusted",
                _ => "turned_off",
            };
            NotListed::new(plugin, reason)
        }));
        self.unlisted.sort_by(|a, b| a.provider.cmp(&b.provider));
    }

    /// The failed providers that the daemon has not put into its list.
    fn add_failed(&mut self) {
        for failure in &self.failures {
            let is_listed = |unlisted: &NotListed| unlisted.provider == failure.name;
            let has_failed = failure.kind != FailureKind::Conflict && !failure.name.is_empty();
            if has_failed && !self.unlisted.iter().any(is_listed) {
                self.unlisted.push(NotListed {
                    provider: failure.name.clone(),
                    realm: None,
                    reason: "failed",
                    message: failure.message.clone(),
                });
            }
        }
        self.unlisted.sort_by(|a, b| a.provider.cmp(&b.provider));
    }

    /// What the catalog says, completed with what can be fetched.
    async fn of(daemon: &Daemon, pattern: &Pattern, catalog: Catalog, fetch: bool) -> Self {
        let mut listing = Self {
            secrets: catalog.entries.into_iter().map(Listed::from).collect(),
            failures: catalog.failures,
            notes: catalog.rejected,
            ..Self::default()
        };
        let (fetched, rest): (Vec<_>, Vec<_>) = catalog
            .unlisted
            .into_iter()
            .partition(|unlisted| fetch && unlisted.reason != UnlistedReason::Failed);
        for unlisted in rest {
            listing.leave_out(unlisted);
        }
        let answers = fetched
            .iter()
            .map(|unlisted| fetch_one(daemon, pattern, unlisted));
        for (unlisted, answer) in fetched.iter().zip(join_all(answers).await) {
            match answer {
                Ok(secrets) => {
                    let own = secrets.envelopes.into_iter();
                    let own = own.filter(|envelope| envelope.provider == unlisted.provider);
                    listing.secrets.extend(own.map(Listed::from));
                    listing.add_failures(secrets.failures);
                }
                Err(error) => {
                    // Without an answer of its own the provider has failed, whatever the reason.
                    let mut failure = ProviderFailure::default();
                    failure.name.clone_from(&unlisted.provider);
                    failure.message = error.to_string();
                    listing.add_failures(vec![failure]);
                }
            }
        }
        let cannot_list = |unlisted: &&Unlisted| {
            let is_named = |failure: &ProviderFailure| {
                failure.name == unlisted.provider && failure.kind == FailureKind::CannotList
            };
            listing.failures.iter().any(is_named)
        };
        let cannot_list: Vec<_> = fetched.iter().filter(cannot_list).cloned().collect();
        cannot_list
            .into_iter()
            .for_each(|unlisted| listing.leave_out(unlisted));
        listing.sort();
        listing
    }

    /// All that can be found out by reading.
    async fn fetched(session: Session<'_>, pattern: &Pattern) -> Result<Self, Failure> {
        let secrets = match or_failures(session.daemon.get(pattern).await) {
            Ok(secrets) => secrets,
            Err(error) => return Err(session.failure(pattern, error).await),
        };
        let mut listing = Self {
            secrets: secrets.envelopes.into_iter().map(Listed::from).collect(),
            failures: secrets.failures,
            ..Self::default()
        };
        listing.sort();
        Ok(listing)
    }

    /// What each provider answers for, where a daemon can say no more.
    async fn realms(daemon: &Daemon, pattern: &Pattern) -> Result<Self, Failure> {
        let plugins = inventory::list(daemon).await;
        let plugins = plugins.map_err(daemon::unanswered)?;
        let mut listing = Self::default();
        let providers = plugins.iter().filter(|plugin| {
            plugin.kind == Kind::Provider && !plugin.is_excluded() && plugin.may_answer(pattern)
        });
        let unlisted = providers.map(|plugin| NotListed::new(plugin, "cannot_list"));
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

    fn leave_out(&mut self, unlisted: Unlisted) {
        let failed = unlisted.reason == UnlistedReason::Failed;
        self.unlisted.push(NotListed {
            provider: unlisted.provider,
            realm: unlisted.realm.map(|realm| realm.to_string()),
            reason: if failed { "failed" } else { "cannot_list" },
            message: unlisted.message,
        });
    }

    fn table(&self) -> Table {
        let mut table = Table::new(["ID", "PROVIDER", "VERSION"]);
        for secret in &self.secrets {
            table.push([&secret.id, &secret.provider, &secret.version]);
        }
        for unlisted in &self.unlisted {
            let realm = unlisted.realm.as_deref().unwrap_or_default();
            let said = match (unlisted.reason, unlisted.message.as_str()) {
                ("failed", "") => "failed".to_owned(),
                ("failed", message) => format!("failed: {message}"),
                ("turned_off", _) => "turned off".to_owned(),
                ("available", _) => "available".to_owned(),
                ("untrusted", _) => "untrusted".to_owned(),
                _ => "cannot list".to_owned(),
            };
            table.push([realm, &unlisted.provider, &said]);
        }
        table
    }
}

/// The secrets of one provider that cannot list them.
async fn fetch_one(
    daemon: &Daemon,
    pattern: &Pattern,
    unlisted: &Unlisted,
) -> Result<Secrets, ResolveError> {
    let realm = unlisted.realm.as_ref();
    let narrower = realm.and_then(|realm| realm.intersection(pattern));
    or_failures(daemon.get(narrower.as_ref().unwrap_or(pattern)).await)
}

/// A result without a certain secret as one that is empty, and names the providers that failed.
fn or_failures(answer: Result<Secrets, ResolveError>) -> Result<Secrets, ResolveError> {
    let failures = match answer {
        Err(ResolveError::NotFound { .. }) => Vec::new(),
        Err(ResolveError::Uncertain { failures, .. } | ResolveError::Conflict { failures, .. }) => {
            failures
        }
        answer => return answer,
    };
    let mut secrets = Secrets::default();
    secrets.failures = failures;
    Ok(secrets)
}

impl From<Entry> for Listed {
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

/// What is known of a secret that was read. Its value is wiped here.
impl From<Envelope> for Listed {
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
