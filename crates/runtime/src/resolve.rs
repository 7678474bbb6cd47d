//! Resolving a query: who is asked, what of the answers counts, and what the caller is told.

mod answer;
mod ask;
mod catalog;
mod rank;

use std::sync::Arc;
use std::time::Duration;

use keyway_proto::FAILED_PROVIDERS_HEADER;
use keyway_proto::resolver::v1::get_secrets_response::Envelope;
use keyway_rpc::{Claim, Code, Error};
use keyway_secrets::Pattern;
use tokio::time::Instant;

use crate::engine::Engine;
use crate::name::PluginName;
use crate::registry::{Availability, Entry, Kind, Snapshot};
use answer::{Answer, merge};

pub(crate) use catalog::list_secrets;

/// What a query found.
#[derive(Debug)]
pub(crate) struct Resolution {
    /// In the order of plugin names.
    pub(crate) envelopes: Vec<Envelope>,
    /// The providers that should have been asked and gave no answer.
    pub(crate) failed: Vec<Failure>,
}

/// What a caller wants to know.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    pub(crate) query: &'a Pattern,
    /// How long the caller waits.
    pub(crate) deadline: Option<Instant>,
    /// What the answers take of the memory that is set aside for them.
    pub(crate) claim: Claim,
}

/// A provider that gave no answer, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) provider: PluginName,
    pub(crate) reason: String,
    /// Whether an answer without this provider is none at all (`required`).
    required: bool,
    /// Whether it never said what it provides. Then it matters only while nothing else was found: a broken plugin must not
    /// spoil the answers of others.
    is_unknown: bool,
}

impl Failure {
    fn new(entry: &Entry, reason: impl Into<String>) -> Self {
        Self {
            provider: entry.name.clone(),
            reason: reason.into(),
            required: entry.config.required,
            is_unknown: entry.realm().is_none(),
        }
    }
}

/// Asks every provider whose realm overlaps the query, concurrently, each under its own deadline.
///
/// When nothing was found and a provider that may know more is just starting, waits for it, at most for the time that it has
/// to register.
///
/// # Errors
///
/// `not_found` when every provider that could have it answered that it has nothing; `unavailable`, naming the providers, when
/// nothing was found and one gave no answer, or when a required one gave none.
pub(crate) async fn resolve(
    engine: &Arc<Engine>,
    question: &Question<'_>,
) -> Result<Resolution, Error> {
    let query = question.query;
    // Subscribed before the first look, so that no registration falls between the two.
    let mut changes = engine.registry.subscribe();
    let mut candidates = Candidates::among(&engine.registry.snapshot(), query);
    let mut answers = ask::all(engine, &candidates.running, question).await;
    let mut failed = candidates.failed;
    let until = wait_limit(engine, question.deadline);
    while answers.iter().all(Answer::is_empty) && !candidates.starting.is_empty() {
        let waited = tokio::time::timeout_at(until, changes.changed()).await;
        let is_over = waited.is_err();
        let Settled {
            running,
            failed: fallen,
            starting,
        } = Settled::of(
            &engine.registry.snapshot(),
            &candidates.starting,
            query,
            is_over,
        );
        answers.extend(ask::all(engine, &running, question).await);
        failed.extend(fallen);
        candidates.starting = starting;
    }
    if query.as_id().is_none() {
        // What was found may be incomplete without those that are still starting.
        failed.extend(
            candidates
                .starting
                .iter()
                .map(|entry| Failure::new(entry, "it is still starting")),
        );
    }
    conclude(query, answers, failed)
}

/// Waits until no plugin that `query` concerns is starting any more, or the time for that has passed.
async fn wait_for_starting(engine: &Arc<Engine>, query: &Pattern, deadline: Option<Instant>) {
    let mut changes = engine.registry.subscribe();
    let until = wait_limit(engine, deadline);
    while !Candidates::among(&engine.registry.snapshot(), query)
        .starting
        .is_empty()
    {
        if tokio::time::timeout_at(until, changes.changed())
            .await
            .is_err()
        {
            return;
        }
    }
}

/// Until when a query waits for starting plugins.
fn wait_limit(engine: &Engine, deadline: Option<Instant>) -> Instant {
    // A little more than the plugin has, so that its own time-out comes first and is what the caller reads.
    let limit = Instant::now() + engine.config().start_timeout + Duration::from_millis(100);
    deadline.map_or(limit, |deadline| deadline.min(limit))
}

fn conclude(
    query: &Pattern,
    mut answers: Vec<Answer>,
    mut failed: Vec<Failure>,
) -> Result<Resolution, Error> {
    failed.extend(
        answers
            .iter_mut()
            .filter_map(|answer| answer.failure.take()),
    );
    failed.sort_by(|a, b| a.provider.cmp(&b.provider));
    failed.dedup_by(|a, b| a.provider == b.provider);
    let envelopes = merge(answers);
    if !envelopes.is_empty() {
        failed.retain(|failure| failure.required || !failure.is_unknown);
    }
    if envelopes.is_empty() && failed.is_empty() {
        return Err(Error::not_found(format!(
            "no provider has a secret that matches {query}"
        )));
    }
    if envelopes.is_empty() || failed.iter().any(|failure| failure.required) {
        return Err(unavailable(query, &failed));
    }
    Ok(Resolution { envelopes, failed })
}

fn unavailable(query: &Pattern, failed: &[Failure]) -> Error {
    let reasons: Vec<String> = failed
        .iter()
        .map(|failure| format!("{} ({})", failure.provider, failure.reason))
        .collect();
    let message = format!(
        "cannot tell whether there is a secret that matches {query}, since no answer came from: {}",
        reasons.join("; ")
    );
    let mut error = Error::new(Code::Unavailable, message);
    if let Some(value) = failed_providers_header(failed) {
        error.metadata_mut().insert(FAILED_PROVIDERS_HEADER, value);
    }
    error
}

/// The value of the header that names the providers that failed.
pub(crate) fn failed_providers_header(failed: &[Failure]) -> Option<http::HeaderValue> {
    if failed.is_empty() {
        return None;
    }
    let names: Vec<&str> = failed
        .iter()
        .map(|failure| failure.provider.as_str())
        .collect();
    // Plugin names hold only letters, digits and `._-`.
    http::HeaderValue::from_str(&names.join(",")).ok()
}

/// The plugins that a query concerns.
#[derive(Debug, Default)]
struct Candidates {
    running: Vec<Arc<Entry>>,
    /// May register any moment, and may then know an answer.
    starting: Vec<Arc<Entry>>,
    failed: Vec<Failure>,
}

impl Candidates {
    fn among(snapshot: &Snapshot, query: &Pattern) -> Self {
        let mut candidates = Self::default();
        for entry in snapshot.values().filter(|entry| concerns(entry, query)) {
            match &entry.availability {
                Availability::Running(_) => candidates.running.push(Arc::clone(entry)),
                Availability::Starting => candidates.starting.push(Arc::clone(entry)),
                Availability::Down => candidates
                    .failed
                    .push(Failure::new(entry, entry.status_message.as_str())),
                Availability::Disabled => {}
            }
        }
        candidates
    }
}

/// Whether a plugin has to be asked, as far as is known. One that was never seen owns everything until it registers or fails.
fn concerns(entry: &Entry, query: &Pattern) -> bool {
    match entry.realm() {
        Some(realm) => realm.overlaps(query),
        None => {
            entry.kind != Some(Kind::AccessControl)
                && matches!(entry.availability, Availability::Starting)
        }
    }
}

/// What became of plugins that were starting.
#[derive(Debug, Default)]
struct Settled {
    running: Vec<Arc<Entry>>,
    failed: Vec<Failure>,
    starting: Vec<Arc<Entry>>,
}

impl Settled {
    /// `is_over`: the time for waiting has passed, so who still starts has failed.
    fn of(snapshot: &Snapshot, waited_for: &[Arc<Entry>], query: &Pattern, is_over: bool) -> Self {
        let mut settled = Self::default();
        // One that is gone from the snapshot was removed, and has nothing to answer.
        for entry in waited_for
            .iter()
            .filter_map(|entry| snapshot.get(&entry.name))
        {
            match &entry.availability {
                Availability::Running(_) if concerns(entry, query) => {
                    settled.running.push(Arc::clone(entry))
                }
                Availability::Running(_) | Availability::Disabled => {}
                Availability::Starting if is_over => {
                    settled
                        .failed
                        .push(Failure::new(entry, "it has not registered yet"));
                }
                Availability::Starting => settled.starting.push(Arc::clone(entry)),
                Availability::Down => settled
                    .failed
                    .push(Failure::new(entry, entry.status_message.as_str())),
            }
        }
        settled
    }
}

#[cfg(test)]
mod tests;
