//! Listing ids without values (`keyway.v1.CatalogService`).

use std::collections::HashSet;

use futures::future::join_all;
use keyway_proto::keyway::v1::unlisted::Reason;
use keyway_proto::keyway::v1::{FailureKind, ListSecretsResponse, Secret, Unlisted};
use keyway_proto::timestamp::repaired;
use keyway_secrets::Id;

use super::execution;
use super::failure::Failure;
use super::plan::{Candidate, Plan, Query};
use crate::authority::Permit;
use crate::lines::peer_event;
use crate::plugin::{Availability, View};
use crate::registry::Registry;

/// Calls every provider whose realm overlaps the query for its list, without ranking. The response names each provider that has no
/// list or failed.
pub(crate) async fn list_secrets(
    registry: &Registry,
    query: &Query,
    permit: &Permit,
) -> (ListSecretsResponse, Vec<Failure>) {
    let plan = Plan::new(
        &registry.snapshot(),
        &query.pattern,
        permit.excluded_plugin(),
    );
    let candidates = execution::started(registry, query, plan).await;
    let outcomes = join_all(
        candidates
            .iter()
            .map(|candidate| one(query, candidate, permit)),
    )
    .await;
    let (mut response, mut failures) = (ListSecretsResponse::default(), Vec::new());
    for (candidate, outcome) in candidates.iter().zip(outcomes) {
        let view = &candidate.view;
        let failure = match outcome {
            Ok((secrets, failure)) => {
                response.secrets.extend(secrets);
                failure
            }
            Err(None) => {
                let cannot_list = unlisted(view, Reason::CannotList, String::new());
                response.unlisted.push(cannot_list);
                None
            }
            Err(failure) => failure,
        };
        if let Some(failure) = failure {
            let failed = unlisted(view, Reason::Failed, failure.sentence());
            response.unlisted.push(failed);
            failures.push(failure);
        }
    }
    response.secrets.sort_by(|a, b| a.provider.cmp(&b.provider));
    response
        .unlisted
        .sort_by(|a, b| a.provider.cmp(&b.provider));
    (response, failures)
}

/// Returns the list of one provider, and why it is incomplete; the error is `None` if the provider has no list.
async fn one(
    query: &Query,
    candidate: &Candidate,
    permit: &Permit,
) -> Result<(Vec<Secret>, Option<Failure>), Option<Failure>> {
    let view = &candidate.view;
    let handle = match &view.availability {
        Availability::Running(handle) => handle,
        Availability::Failed { kind, next_start } => {
            return Err(Some(Failure::not_running(view, *kind, *next_start)));
        }
        Availability::Starting { .. } | Availability::Excluded => {
            return Err(Some(Failure::new(view, FailureKind::Starting, "")));
        }
    };
    if handle.registration().lists(&view.settings) == Some(false) {
        return Err(None);
    }
    view.record.request();
    let context = execution::context(query, view);
    let response = handle
        .list_secrets(candidate.query.as_str(), &context, &query.reservation)
        .await;
    match response {
        Ok(decoded) => {
            let (listed, n_violations) = admit(query, view, permit, decoded.items);
            Ok((listed, violation(view, n_violations + decoded.n_too_large)))
        }
        // Plugins that do not know the service respond with 404, which is the same as `unimplemented`.
        Err(error) if error.is_unimplemented() => Err(None),
        Err(error) => match Failure::of_call(view, &error, false) {
            None => Ok((Vec::new(), None)),
            Some(failure) => {
                execution::report(query, view, &context, &error);
                view.record.failure(failure.kind, &failure.sentence());
                Err(Some(failure))
            }
        },
    }
}

/// The entries of the realm and the query that the caller may see, each id once, and the number of those that are invalid or outside
/// the realm.
fn admit(
    query: &Query,
    view: &View,
    permit: &Permit,
    secrets: Vec<Secret>,
) -> (Vec<Secret>, usize) {
    let mut seen = HashSet::new();
    let (mut n_violations, mut admitted) = (0_usize, Vec::new());
    for secret in secrets {
        let Some(id) = secret.id().parse::<Id>().ok().filter(|id| {
            view.realm
                .as_ref()
                .is_some_and(|realm| realm.is_registered(id))
        }) else {
            n_violations += 1;
            continue;
        };
        let is_in_realm = view.realm.as_ref().is_some_and(|realm| realm.matches(&id));
        let is_requested = is_in_realm && query.pattern.matches(&id) && permit.covers(&id);
        if is_requested && seen.insert(id) {
            admitted.push(stamp(view, secret));
        }
    }
    (admitted, n_violations)
}

/// The failure of a provider whose list held what may not be in it; logged in one line.
fn violation(view: &View, n_violations: usize) -> Option<Failure> {
    if n_violations == 0 {
        return None;
    }
    peer_event!(
        view.record.fault_lines,
        WARN,
        plugin = %view.name, n_violations,
        "realm violation: list held ids that are invalid, outside the realm, or exceed the limits"
    );
    let message = format!(
        "the list held {n_violations} ids that are invalid, outside the realm, or exceed the limits"
    );
    let failure = Failure::new(view, FailureKind::Internal, message);
    view.record.failure(failure.kind, &failure.sentence());
    Some(failure)
}

fn stamp(view: &View, secret: Secret) -> Secret {
    Secret {
        provider: Some(view.name.to_string()),
        created_at: secret
            .created_at
            .map(|time| repaired(&time).unwrap_or(time)),
        expires_at: secret
            .expires_at
            .map(|time| repaired(&time).unwrap_or(time)),
        ..secret
    }
}

fn unlisted(view: &View, reason: Reason, message: String) -> Unlisted {
    Unlisted {
        provider: Some(view.name.to_string()),
        pattern: view.realm.as_ref().map(ToString::to_string),
        reason: Some(reason.into()),
        message: Some(message),
    }
}

#[cfg(test)]
mod tests;
