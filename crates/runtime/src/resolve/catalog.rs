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
        match outcome {
            Ok(secrets) => response.secrets.extend(secrets),
            Err(None) => response
                .unlisted
                .push(unlisted(view, Reason::CannotList, String::new())),
            Err(Some(failure)) => {
                let message = failure.sentence();
                response
                    .unlisted
                    .push(unlisted(view, Reason::Failed, message));
                failures.push(failure);
            }
        }
    }
    response.secrets.sort_by(|a, b| a.provider.cmp(&b.provider));
    response
        .unlisted
        .sort_by(|a, b| a.provider.cmp(&b.provider));
    (response, failures)
}

/// Returns the list of one provider; the error is `None` if it has no list.
async fn one(
    query: &Query,
    candidate: &Candidate,
    permit: &Permit,
) -> Result<Vec<Secret>, Option<Failure>> {
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
        Ok(response) => Ok(admit(query, view, permit, response.secrets)),
        // Plugins that do not know the service respond with 404, which is the same as `unimplemented`.
        Err(error) if error.is_unimplemented() => Err(None),
        Err(error) => match Failure::of_call(view, &error, false) {
            None => Ok(Vec::new()),
            Some(failure) => {
                execution::report(query, view, &context, &error);
                view.record.failure(failure.kind, &failure.sentence());
                Err(Some(failure))
            }
        },
    }
}

/// The entries of the realm and the query that the caller may see, each id once.
fn admit(query: &Query, view: &View, permit: &Permit, secrets: Vec<Secret>) -> Vec<Secret> {
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
    if n_violations > 0 {
        tracing::warn!(plugin = %view.name, n_violations, "realm violation: list held ids that are invalid or outside the realm");
    }
    admitted
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
