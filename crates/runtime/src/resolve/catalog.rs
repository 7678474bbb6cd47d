//! Listing ids without values (`keyway.v1.CatalogService`).

use std::collections::HashSet;
use std::sync::Arc;

use futures::future::join_all;
use keyway_proto::keyway::v1::unlisted::Reason;
use keyway_proto::keyway::v1::{FailureKind, ListSecretsResponse, Secret, Unlisted};
use keyway_proto::timestamp::repaired;
use keyway_secrets::Id;

use super::execution;
use super::failure::Failure;
use super::plan::{Candidate, Plan, Query, excluded};
use crate::authority::Permit;
use crate::lines::peer_event;
use crate::plugin::{Availability, CallContext, CallError, Listed, View};
use crate::registry::{Registry, Successor};

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
    let lists = candidates
        .into_iter()
        .map(|candidate| list(registry, query, candidate, permit));
    let (mut response, mut failures) = (ListSecretsResponse::default(), Vec::new());
    let lists = join_all(lists).await;
    let now = registry.snapshot();
    for (view, list) in lists.into_iter().flatten() {
        if excluded(&now, &view.name).is_some() {
            // The user has disabled the plugin meanwhile.
            continue;
        }
        response.secrets.extend(list.secrets);
        response.unlisted.extend(match &list.gap {
            Gap::None => None,
            Gap::CannotList => Some(unlisted(&view, Reason::CannotList, String::new())),
            Gap::Failed(failure) => Some(unlisted(&view, Reason::Failed, failure.sentence())),
        });
        if let Gap::Failed(failure) = list.gap {
            failures.push(failure);
        }
    }
    response.secrets.sort_by(|a, b| a.provider.cmp(&b.provider));
    response
        .unlisted
        .sort_by(|a, b| a.provider.cmp(&b.provider));
    (response, failures)
}

/// The list of one provider.
pub(super) struct List {
    pub(super) secrets: Vec<Secret>,
    /// The reason why `secrets` lacks some of the ids.
    pub(super) gap: Gap,
}

pub(super) enum Gap {
    None,
    CannotList,
    Failed(Failure),
}

impl List {
    fn without_secrets(gap: Gap) -> Self {
        let secrets = Vec::new();
        Self { secrets, gap }
    }

    fn failed(failure: Failure) -> Self {
        Self::without_secrets(Gap::Failed(failure))
    }
}

/// Returns a candidate with its list, or `None` if it has ceased to be a candidate. A call that a plugin does not accept, because it
/// is being replaced, goes to the process that follows.
pub(super) async fn list(
    registry: &Registry,
    query: &Query,
    mut candidate: Candidate,
    permit: &Permit,
) -> Option<(Arc<View>, List)> {
    loop {
        let view = &candidate.view;
        let handle = match &view.availability {
            Availability::Running(handle) => handle,
            Availability::Failed { kind, next_start } => {
                let failure = Failure::not_running(view, *kind, *next_start);
                return Some((candidate.view, List::failed(failure)));
            }
            Availability::Starting { .. } | Availability::Excluded => {
                let failure = Failure::new(view, FailureKind::Starting, "");
                return Some((candidate.view, List::failed(failure)));
            }
        };
        if handle.registration().lists(&view.settings) == Some(false) {
            return Some((candidate.view, List::without_secrets(Gap::CannotList)));
        }
        view.record.request();
        let context = execution::context(query, view);
        let response = handle
            .list_secrets(candidate.query.as_str(), &context, &query.reservation)
            .await;
        let successor = registry.successor(handle, &response, &context, query.deadline);
        if let Some(Successor(view)) = successor.await {
            candidate = Candidate::after_start(view, &query.pattern)?;
            continue;
        }
        let list = match response {
            Ok(listed) => admit(query, view, permit, listed),
            Err(error) => failed(query, view, &context, &error),
        };
        if let Gap::Failed(failure) = &list.gap {
            view.record.failure(failure.kind, &failure.sentence());
        }
        return Some((candidate.view, list));
    }
}

/// Returns the list of a provider whose call failed.
fn failed(query: &Query, view: &View, context: &CallContext, error: &CallError) -> List {
    // Plugins that do not know the service respond with 404, which is the same as `unimplemented`.
    if error.is_unimplemented() {
        return List::without_secrets(Gap::CannotList);
    }
    match Failure::of_call(view, error, false) {
        None => List::without_secrets(Gap::None),
        Some(failure) => {
            execution::report(query, view, context, error);
            List::failed(failure)
        }
    }
}

/// The entries of the realm and the query that the caller may see, each id once. A list that holds invalid ids or ids outside the
/// realm is incomplete, as is one that the provider has marked.
fn admit(query: &Query, view: &View, permit: &Permit, listed: Listed) -> List {
    let mut seen = HashSet::new();
    let mut secrets = Vec::new();
    let mut n_violations = listed.decoded.n_too_large;
    for secret in listed.decoded.items {
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
            secrets.push(stamp(view, secret));
        }
    }
    let gap = match (violation(view, n_violations), listed.incomplete) {
        (Some(failure), _) => Gap::Failed(failure),
        (None, Some(detail)) if detail.kind() == FailureKind::CannotList => Gap::CannotList,
        (None, Some(detail)) => {
            let message = "the list is incomplete".to_owned();
            Gap::Failed(Failure::of_detail(view, &detail, message))
        }
        (None, None) => Gap::None,
    };
    List { secrets, gap }
}

/// Returns the failure of a provider whose list held inadmissible entries; logged in one line.
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
    Some(Failure::new(view, FailureKind::Internal, message))
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
