//! Asking providers.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::future::join_all;
use keyway_proto::resolver::v1::get_secrets_response::Envelope;
use keyway_secrets::Pattern;
use tokio::time::{Instant, timeout};

use super::Failure;
use super::answer::{Answer, admit};
use crate::engine::Engine;
use crate::plugin::{CallError, Handle};
use crate::registry::Entry;

/// Asks all of `entries` at the same time; the answers come in their order.
pub(super) async fn all(
    engine: &Arc<Engine>,
    entries: &[Arc<Entry>],
    query: &Pattern,
    deadline: Option<Instant>,
) -> Vec<Answer> {
    join_all(
        entries
            .iter()
            .map(|entry| one(engine, entry, query, deadline)),
    )
    .await
}

async fn one(
    engine: &Arc<Engine>,
    entry: &Arc<Entry>,
    query: &Pattern,
    deadline: Option<Instant>,
) -> Answer {
    let (Some(handle), Some(realm)) = (entry.handle(), entry.realm()) else {
        return Answer::failed(entry, Failure::new(entry, "it is not running"));
    };
    let question = realm.narrow(query);
    let limit = limit(engine, entry, deadline);
    let answer = match cache_ttl(entry) {
        None => match handle.get_secrets(question.as_str(), limit).await {
            Ok(mut response) => Ok(std::mem::take(&mut response.envelopes)),
            Err(error) => Err(Unanswered::new(&error)),
        },
        Some(ttl) => {
            let patience = engine.config().timeout_of(&entry.name);
            cached(handle, question.as_str(), ttl, patience, limit).await
        }
    };
    match answer {
        Ok(envelopes) => Answer::found(
            entry,
            admit(entry, &realm, query, envelopes, SystemTime::now()),
        ),
        Err(failure) if failure.is_not_found => Answer::found(entry, Vec::new()),
        Err(failure) => {
            tracing::warn!(plugin = %entry.name, "a request failed: {}", failure.for_log);
            Answer::failed(entry, Failure::new(entry, failure.for_caller))
        }
    }
}

/// Why there is no answer, in the words for each reader.
struct Unanswered {
    is_not_found: bool,
    for_log: String,
    for_caller: String,
}

impl Unanswered {
    fn new(error: &CallError) -> Self {
        Self {
            is_not_found: error.is_not_found(),
            for_log: error.for_log(),
            for_caller: error.to_string(),
        }
    }
}

/// How long the answers of a plugin may be used again. The file store is always read: what was just written must be found.
fn cache_ttl(entry: &Entry) -> Option<Duration> {
    entry
        .config
        .cache_ttl
        .filter(|_| entry.name.as_str() != "file")
}

/// An answer from the cache, or a shared one that this caller waits for no longer than `limit`.
async fn cached(
    handle: &Arc<Handle>,
    question: &str,
    ttl: Duration,
    patience: Duration,
    limit: Duration,
) -> Result<Vec<Envelope>, Unanswered> {
    match timeout(limit, handle.get_secrets_cached(question, ttl, patience)).await {
        Ok(answer) => match answer.as_ref() {
            Ok(response) => Ok(response.envelopes.clone()),
            Err(error) => Err(Unanswered::new(error)),
        },
        Err(_) => Err(Unanswered::new(&CallError::TimedOut(limit))),
    }
}

/// How long one provider may take: what is configured, or less when the caller waits less.
pub(super) fn limit(engine: &Engine, entry: &Entry, deadline: Option<Instant>) -> Duration {
    let configured = engine.config().timeout_of(&entry.name);
    deadline.map_or(configured, |deadline| {
        configured.min(deadline.saturating_duration_since(Instant::now()))
    })
}
