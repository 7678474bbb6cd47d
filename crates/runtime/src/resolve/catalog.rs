//! Listing what there is, without values (`keyway.v1.CatalogService`).

use std::sync::Arc;

use futures::future::join_all;
use keyway_proto::keyway::v1::unlisted::Reason;
use keyway_proto::keyway::v1::{ListSecretsResponse, Secret, Unlisted};
use keyway_proto::timestamp::repaired;

use super::answer::{is_admissible, without_repetitions};
use super::{Candidates, Question, ask};
use crate::engine::Engine;
use crate::plugin::CallError;
use crate::registry::Entry;

/// Asks every provider whose realm overlaps the query for its list. A provider that has none, or fails, is named in the answer.
pub(crate) async fn list_secrets(
    engine: &Arc<Engine>,
    question: &Question<'_>,
) -> ListSecretsResponse {
    let query = question.query;
    super::wait_for_starting(engine, query, question.deadline).await;
    let snapshot = engine.registry.snapshot();
    let candidates = Candidates::among(&snapshot, query);
    let asked = join_all(
        candidates
            .running
            .iter()
            .map(|entry| one(engine, entry, question)),
    )
    .await;
    let mut response = ListSecretsResponse::default();
    for outcome in asked {
        match outcome {
            Ok(secrets) => response.secrets.extend(secrets),
            Err(unlisted) => response.unlisted.push(unlisted),
        }
    }
    let starting = candidates
        .starting
        .iter()
        .map(|entry| (&entry.name, "it has not registered yet"));
    let failed = candidates
        .failed
        .iter()
        .map(|failure| (&failure.provider, failure.reason.as_str()));
    for (name, reason) in starting.chain(failed) {
        if let Some(entry) = snapshot.get(name) {
            response
                .unlisted
                .push(unlisted(entry, Reason::Failed, reason.into()));
        }
    }
    response
        .unlisted
        .sort_by(|a, b| a.provider.cmp(&b.provider));
    response
}

async fn one(
    engine: &Arc<Engine>,
    entry: &Arc<Entry>,
    question: &Question<'_>,
) -> Result<Vec<Secret>, Unlisted> {
    let query = question.query;
    let (Some(handle), Some(realm)) = (entry.handle(), entry.realm()) else {
        return Err(unlisted(entry, Reason::Failed, "it is not running".into()));
    };
    let limit = ask::limit(engine, entry, question.deadline);
    let response = handle
        .list_secrets(realm.narrow(query).as_str(), limit, &question.claim)
        .await;
    let secrets = response
        .map_err(|error| cannot_list(entry, &error))?
        .secrets;
    let admitted = secrets
        .into_iter()
        .filter(|secret| is_admissible(entry, &realm, query, secret.id()))
        .map(|secret| Secret {
            provider: Some(entry.name.to_string()),
            created_at: secret
                .created_at
                .map(|time| repaired(&time).unwrap_or(time)),
            expires_at: secret
                .expires_at
                .map(|time| repaired(&time).unwrap_or(time)),
            ..secret
        })
        .collect();
    Ok(without_repetitions(entry, admitted, Secret::id))
}

fn cannot_list(entry: &Entry, error: &CallError) -> Unlisted {
    // Plugins that do not know the service answer 404, which is the same as `unimplemented`.
    let reason = if error.is_unimplemented() {
        Reason::CannotList
    } else {
        Reason::Failed
    };
    unlisted(
        entry,
        reason,
        if reason == Reason::CannotList {
            String::new()
        } else {
            error.to_string()
        },
    )
}

fn unlisted(entry: &Entry, reason: Reason, message: String) -> Unlisted {
    Unlisted {
        provider: Some(entry.name.to_string()),
        pattern: entry.realm().map(|realm| realm.to_string()),
        reason: Some(reason.into()),
        message: Some(message),
    }
}
