//! `keyway ls`: which secrets there are and who provides them, never their values.

use std::collections::BTreeMap;

use clap::Args;
use futures::future::join_all;
use keyway_proto::plugins::v1::Plugin;
use keyway_proto::plugins::v1::plugin::Metadata;
use keyway_resolver::{
    Catalog, Entry, Envelope, Pattern, ResolveError, Secrets, Unlisted, UnlistedReason,
};
use serde::Serialize;

use super::plugins;
use crate::daemon::{self, Daemon};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::globals::Globals;
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
    let listing = daemon::ask(globals, async |daemon| {
        Listing::ask(&daemon, &options.pattern, options.fetch).await
    })?;
    if globals.json {
        output::print_text(json::line(&listing))?;
    } else {
        output::print_text(listing.table())?;
        let is_off = |unlisted: &NotListed| unlisted.reason == "turned_off";
        if listing.secrets.is_empty() && listing.unlisted.iter().all(is_off) {
            output::note(format_args!("no secret matches {}", options.pattern));
        }
    }
    listing.notes.iter().for_each(output::note);
    match listing.failed.as_slice() {
        [] => Ok(Exit::Done),
        failed => Err(daemon::incomplete(failed)),
    }
}

/// What `keyway ls --json` prints, and what it is made into a table of.
#[derive(Debug, Default, Serialize)]
struct Listing {
    secrets: Vec<Listed>,
    unlisted: Vec<NotListed>,
    /// Providers that should have answered and did not.
    #[serde(skip)]
    failed: Vec<String>,
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
    /// `cannot_list`, `failed` or `turned_off`.
    reason: &'static str,
    message: String,
}

impl NotListed {
    fn new(plugin: &Plugin, reason: &'static str) -> Self {
        Self {
            provider: plugin.name().to_owned(),
            realm: plugins::realm(plugin).map(|realm| realm.to_string()),
            reason,
            message: String::new(),
        }
    }
}

impl Listing {
    async fn ask(daemon: &Daemon, pattern: &Pattern, fetch: bool) -> Result<Self, Failure> {
        let mut listing = match daemon.list(pattern).await {
            Ok(catalog) => Self::of(daemon, pattern, catalog, fetch).await,
            // A daemon of another make has no catalog.
            Err(ResolveError::Unsupported { .. }) if fetch => {
                Self::fetched(daemon, pattern).await?
            }
            Err(ResolveError::Unsupported { .. }) => return Self::realms(daemon, pattern).await,
            Err(ResolveError::NotFound { .. }) => Self::default(),
            Err(error) => return Err(daemon::failure(pattern, error)),
        };
        match plugins::listed(daemon).await {
            Ok(plugins) => listing.add_turned_off(&plugins, pattern),
            Err(error) => {
                let note = format!("whether a provider is turned off is not known: {error}");
                listing.notes.push(note);
            }
        }
        Ok(listing)
    }

    /// The providers that are not asked because somebody turned them off.
    fn add_turned_off(&mut self, plugins: &[Plugin], pattern: &Pattern) {
        let off = plugins.iter().filter(|plugin| plugin.disabled());
        let off = off.filter(|plugin| plugins::may_answer(plugin, pattern));
        self.unlisted
            .extend(off.map(|plugin| NotListed::new(plugin, "turned_off")));
        self.unlisted.sort_by(|a, b| a.provider.cmp(&b.provider));
    }

    /// What the catalog says, completed with what can be fetched.
    async fn of(daemon: &Daemon, pattern: &Pattern, catalog: Catalog, fetch: bool) -> Self {
        let mut listing = Self {
            secrets: catalog.entries.into_iter().map(Listed::from).collect(),
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
                }
                Err(error) => {
                    listing
                        .notes
                        .push(format!("{}: {error}", unlisted.provider));
                    listing.failed.push(unlisted.provider.clone());
                }
            }
        }
        listing.sort();
        listing
    }

    /// All that can be found out by reading.
    async fn fetched(daemon: &Daemon, pattern: &Pattern) -> Result<Self, Failure> {
        let secrets = match daemon.get(pattern).await {
            Ok(secrets) => secrets,
            Err(ResolveError::NotFound { .. }) => Secrets::default(),
            Err(error) => return Err(daemon::failure(pattern, error)),
        };
        let mut listing = Self {
            failed: secrets.failed_providers(),
            secrets: secrets.envelopes.into_iter().map(Listed::from).collect(),
            ..Self::default()
        };
        listing.sort();
        Ok(listing)
    }

    /// What each provider answers for, where a daemon can say no more.
    async fn realms(daemon: &Daemon, pattern: &Pattern) -> Result<Self, Failure> {
        let plugins = plugins::listed(daemon).await;
        let plugins = plugins.map_err(daemon::unanswered)?;
        let mut listing = Self::default();
        let providers = plugins.iter().filter(|plugin| {
            let is_provider = matches!(plugin.metadata, Some(Metadata::SecretsProvider(_)));
            is_provider && !plugin.disabled() && plugins::may_answer(plugin, pattern)
        });
        let unlisted = providers.map(|plugin| NotListed::new(plugin, "cannot_list"));
        listing.unlisted.extend(unlisted);
        listing.add_turned_off(&plugins, pattern);
        Ok(listing)
    }

    fn sort(&mut self) {
        self.secrets
            .sort_by(|a, b| (&a.id, &a.provider).cmp(&(&b.id, &b.provider)));
    }

    fn leave_out(&mut self, unlisted: Unlisted) {
        let failed = unlisted.reason == UnlistedReason::Failed;
        if failed {
            self.failed.push(unlisted.provider.clone());
        }
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
    match daemon.get(narrower.as_ref().unwrap_or(pattern)).await {
        Err(ResolveError::NotFound { .. }) => Ok(Secrets::default()),
        answer => answer,
    }
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
