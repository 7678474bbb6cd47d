//! Explains how a query is resolved: ranks, calls and outcomes, never values.

use keyway_proto::keyway::v1::{ExplainResponse, ExplainedId, ExplainedProvider, Outcome};
use keyway_secrets::Id;

use super::admit::Admitted;
use super::execution::{Executed, execute};
use super::plan::{Candidate, Plan, Query};
use super::rank::{self, Gap, Verdict};
use super::resolution::RankedResponses;
use crate::authority::Permit;
use crate::plugin::View;
use crate::registry::Registry;

/// Resolves `query` and explains each id: for an id that one, for a pattern every id that a provider returned.
pub(crate) async fn explain(
    registry: &Registry,
    query: &Query,
    permit: &Permit,
) -> ExplainResponse {
    let plan = Plan::new(
        &registry.snapshot(),
        &query.pattern,
        permit.excluded_plugin(),
    );
    let Executed { plan, responses } = execute(registry, query, plan).await;
    let responses = RankedResponses::new(plan.candidates.iter(), &responses);
    let mut ids = match query.pattern.as_id() {
        Some(id) => vec![id],
        None => returned(&responses),
    };
    ids.retain(|id| permit.covers(id));
    let failed = responses
        .iter()
        .filter_map(|(_, admitted)| admitted?.failure.as_ref());
    ExplainResponse {
        failed: failed.map(super::Failure::to_wire).collect(),
        ids: ids
            .iter()
            .map(|id| explained(id, &responses, &plan))
            .collect(),
    }
}

fn returned(responses: &RankedResponses<'_>) -> Vec<Id> {
    let values = responses
        .iter()
        .filter_map(|(_, admitted)| admitted)
        .flat_map(|admitted| admitted.values.keys().cloned());
    let mut ids: Vec<Id> = values.collect();
    ids.sort();
    ids.dedup();
    ids
}

fn explained(id: &Id, responses: &RankedResponses<'_>, plan: &Plan) -> ExplainedId {
    let is_in_realm = |view: &View| view.realm.as_ref().is_none_or(|realm| realm.matches(id));
    let candidates: Vec<_> = responses
        .of_id(id)
        .into_iter()
        .zip(responses.iter())
        .filter(|(_, (candidate, _))| is_in_realm(&candidate.view))
        .collect();
    let of_id: Vec<_> = candidates.iter().map(|(of_id, _)| *of_id).collect();
    let (outcome, provider) = match rank::decide(&of_id) {
        Verdict::Value { index } => (Outcome::Value, Some(of_id[index].name.to_owned())),
        Verdict::NotFound => (Outcome::Nothing, None),
        Verdict::Uncertain { .. } | Verdict::Undecided { .. } => (Outcome::Failed, None),
        Verdict::Conflict { .. } => (Outcome::Conflict, None),
    };
    let mut providers = Vec::new();
    let (mut number, mut last) = (0, None);
    for (index, (_, (candidate, admitted))) in candidates.into_iter().enumerate() {
        if last != Some(candidate.view.rank) {
            (number, last) = (index as u32 + 1, Some(candidate.view.rank));
        }
        providers.push(candidate_outcome(id, candidate, admitted, number));
    }
    let of_excluded = plan.excluded.iter().filter(|view| is_in_realm(view));
    providers.extend(of_excluded.map(|view| excluded(view)));
    ExplainedId {
        id: Some(id.to_string()),
        outcome: Some(outcome.into()),
        provider,
        providers,
    }
}

fn candidate_outcome(
    id: &Id,
    candidate: &Candidate,
    admitted: Option<&Admitted>,
    rank: u32,
) -> ExplainedProvider {
    let mut explained = ExplainedProvider {
        name: Some(candidate.view.name.to_string()),
        rank: Some(rank),
        ..ExplainedProvider::default()
    };
    let Some(admitted) = admitted else {
        explained.outcome = Some(Outcome::NotCalled.into());
        return explained;
    };
    let has_failed = match &admitted.gap {
        Gap::None => false,
        Gap::Ids(ids) => ids.contains(id),
        Gap::Others => true,
    };
    let outcome = match admitted.values.get(id) {
        Some(envelope) => {
            explained.version = Some(envelope.version().to_owned());
            Outcome::Value
        }
        None if has_failed => Outcome::Failed,
        None => Outcome::Nothing,
    };
    if outcome == Outcome::Failed
        && let Some(failure) = &admitted.failure
    {
        explained.kind = Some(failure.kind.into());
        explained.message = Some(failure.message.clone());
    }
    explained.outcome = Some(outcome.into());
    explained
}

fn excluded(view: &View) -> ExplainedProvider {
    ExplainedProvider {
        name: Some(view.name.to_string()),
        outcome: Some(Outcome::Excluded.into()),
        message: Some(view.message.clone()),
        ..ExplainedProvider::default()
    }
}

#[cfg(test)]
mod tests;
