//! Asking providers.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::future::join_all;
use keyway_secrets::Pattern;
use tokio::time::Instant;

use super::Failure;
use super::answer::{Answer, admit};
use crate::engine::Engine;
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
    let limit = limit(engine, entry, deadline);
    match handle
        .get_secrets(realm.narrow(query).as_str(), limit)
        .await
    {
        Ok(response) => Answer::found(
            entry,
            admit(entry, &realm, query, response.envelopes, SystemTime::now()),
        ),
        Err(error) if error.is_not_found() => Answer::found(entry, Vec::new()),
        Err(error) => {
            tracing::warn!(plugin = %entry.name, "a request failed: {}", error.for_log());
            Answer::failed(entry, Failure::new(entry, error.to_string()))
        }
    }
}

/// How long one provider may take: what is configured, or less when the caller waits less.
pub(super) fn limit(engine: &Engine, entry: &Entry, deadline: Option<Instant>) -> Duration {
    let configured = engine.config().timeout_of(&entry.name);
    deadline.map_or(configured, |deadline| {
        configured.min(deadline.saturating_duration_since(Instant::now()))
    })
}
