//! Asking providers.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::future::join_all;
use keyway_proto::resolver::v1::get_secrets_response::Envelope;
use keyway_rpc::Claim;
use tokio::time::{Instant, timeout};

use super::answer::{Answer, admit};
use super::{Failure, Question};
use crate::config::may_be_cached;
use crate::engine::Engine;
use crate::plugin::{CallError, SharedAnswer, size};
use crate::registry::Entry;

/// Asks all of `entries` at the same time; the answers come in their order.
pub(super) async fn all(
    engine: &Arc<Engine>,
    entries: &[Arc<Entry>],
    question: &Question<'_>,
) -> Vec<Answer> {
    join_all(entries.iter().map(|entry| one(engine, entry, question))).await
}

async fn one(engine: &Arc<Engine>, entry: &Arc<Entry>, asked: &Question<'_>) -> Answer {
    let (Some(handle), Some(realm)) = (entry.handle(), entry.realm()) else {
        return Answer::failed(entry, Failure::new(entry, "it is not running"));
    };
    let question = realm.narrow(asked.query);
    let limit = limit(engine, entry, asked.deadline);
    let answer = match cache_ttl(entry) {
        None => match handle
            .get_secrets(question.as_str(), limit, &asked.claim)
            .await
        {
            Ok(mut response) => Ok(std::mem::take(&mut response.envelopes)),
            Err(error) => Err(Unanswered::new(&error)),
        },
        Some(ttl) => {
            let patience = engine.config().timeout_of(&entry.name);
            let budget = engine.answer_memory();
            let answer = handle.get_secrets_cached(question.as_str(), ttl, patience, &budget);
            copied(answer, limit, &asked.claim).await
        }
    };
    match answer {
        Ok(envelopes) => Answer::found(
            entry,
            admit(entry, &realm, asked.query, envelopes, SystemTime::now()),
        ),
        Err(failure) if failure.is_not_found => Answer::found(entry, Vec::new()),
        Err(failure) => {
            // A caller that waits less than the plugin may take says nothing about the plugin.
            if failure.is_late && limit < engine.config().timeout_of(&entry.name) {
                tracing::debug!(plugin = %entry.name, "a caller gave up: {}", failure.for_log);
            } else {
                tracing::warn!(plugin = %entry.name, "a request failed: {}", failure.for_log);
            }
            Answer::failed(entry, Failure::new(entry, failure.for_caller))
        }
    }
}

/// Why there is no answer, in the words for each reader.
struct Unanswered {
    is_not_found: bool,
    /// Whether the time was over.
    is_late: bool,
    for_log: String,
    for_caller: String,
}

impl Unanswered {
    fn new(error: &CallError) -> Self {
        Self {
            is_not_found: error.is_not_found(),
            is_late: error.is_late(),
            for_log: error.for_log(),
            for_caller: error.to_string(),
        }
    }
}

/// How long the answers of a plugin may be used again.
fn cache_ttl(entry: &Entry) -> Option<Duration> {
    entry
        .config
        .cache_ttl
        .filter(|_| may_be_cached(&entry.name))
}

/// A copy of an answer from the cache, or of a shared one, that this caller waits for no longer than `limit`. The copy is
/// counted against `claim`.
async fn copied(
    answer: impl Future<Output = SharedAnswer>,
    limit: Duration,
    claim: &Claim,
) -> Result<Vec<Envelope>, Unanswered> {
    let copied = timeout(limit, async {
        let answer = answer.await;
        let response = answer.as_ref().as_ref().map_err(Unanswered::new)?;
        claim.take(size(response)).await;
        Ok(response.envelopes.clone())
    });
    copied.await.unwrap_or_else(|_| {
        let error = match claim.is_crowded() {
            true => CallError::NoRoom(limit),
            false => CallError::TimedOut(limit),
        };
        Err(Unanswered::new(&error))
    })
}

/// How long one provider may take: what is configured, or less when the caller waits less.
pub(super) fn limit(engine: &Engine, entry: &Entry, deadline: Option<Instant>) -> Duration {
    let configured = engine.config().timeout_of(&entry.name);
    deadline.map_or(configured, |deadline| {
        configured.min(deadline.saturating_duration_since(Instant::now()))
    })
}
