//! From responses to a result: ranking, and the client's response.

use std::collections::BTreeMap;

use keyway_local::shortened;
use keyway_proto::keyway::v1::FailureKind;
use keyway_proto::resolver::v1::get_secrets_response::Envelope;
use keyway_rpc::{Code, Error};
use keyway_secrets::{Id, Pattern};

use super::admit::Admitted;
use super::execution::Responses;
use super::failure::{Failure, with_failures};
use super::plan::{Candidate, Plan};
use super::rank::{
    self, Gap, Outcome, PatternCandidate, PatternVerdict, Response, ValueBytes, Verdict,
};
use crate::authority::is_reserved;
use crate::model::{PluginName, Realm};
use crate::plugin::View;

/// The most failures, providers or names that a message lists.
const MAX_LISTED: usize = 8;

/// The longest part of a query that a message repeats, in characters.
const MAX_QUERY_CHARS: usize = 200;

/// The result of a query.
#[derive(Debug)]
pub(crate) struct Resolution {
    /// The certain values, in the order of ids.
    pub(crate) envelopes: Vec<(Id, Envelope)>,
    /// The failed candidates of a pattern in rank order, then the conflicts.
    pub(crate) failures: Vec<Failure>,
}

/// The candidates in rank order, each with its response so far.
pub(crate) struct RankedResponses<'a>(Vec<(&'a Candidate, Option<&'a Admitted>)>);

impl<'a> RankedResponses<'a> {
    /// Pairs `candidates` with `responses`. A response to another query than the one that the candidate would receive now is ignored.
    pub(crate) fn new(
        candidates: impl Iterator<Item = &'a Candidate>,
        responses: &'a Responses,
    ) -> Self {
        let response = |candidate: &Candidate| {
            let (query, admitted) = responses.get(&candidate.view.name)?;
            (*query == candidate.query).then_some(admitted)
        };
        Self(
            candidates
                .map(|candidate| (candidate, response(candidate)))
                .collect(),
        )
    }

    /// Returns the candidates and their responses.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'a Candidate, Option<&'a Admitted>)> {
        self.0.iter().copied()
    }

    /// Returns the candidates of one id, as [`rank::decide`] takes them. One whose realm does not contain the id holds nothing.
    pub(crate) fn of_id(&self, id: &Id) -> Vec<rank::Candidate<'a, ValueBytes<'a>>> {
        self.iter()
            .map(|(candidate, admitted)| rank::Candidate {
                rank: candidate.view.rank,
                name: candidate.view.name.as_str(),
                response: match &candidate.view.realm {
                    Some(realm) if !realm.matches(id) => Response::Nothing,
                    _ => response(admitted, id),
                },
            })
            .collect()
    }

    /// Returns `true` if more responses cannot change the result.
    pub(crate) fn is_decided(&self, query: &Pattern) -> bool {
        match query.as_id() {
            Some(id) => !matches!(rank::decide(&self.of_id(&id)), Verdict::Undecided { .. }),
            None => self.iter().all(|(_, admitted)| admitted.is_some()),
        }
    }

    /// Returns the candidates that may be called now.
    pub(crate) fn callable(&self, query: &Pattern) -> Vec<usize> {
        match query.as_id() {
            Some(id) => rank::callable(&self.of_id(&id)),
            None => (0..self.0.len()).collect(),
        }
    }

    fn failure(&self, index: usize) -> Option<&'a Failure> {
        self.0[index].1?.failure.as_ref()
    }

    fn failures(&self, indices: &[usize]) -> Vec<Failure> {
        let failures = indices.iter().filter_map(|index| self.failure(*index));
        failures.cloned().collect()
    }

    fn conflict(&self, index: usize, message: String) -> Failure {
        Failure::new(&self.0[index].0.view, FailureKind::Conflict, message)
    }

    fn name(&self, index: usize) -> &'a PluginName {
        &self.0[index].0.view.name
    }

    /// Decides every id that was returned. All candidates have responded.
    pub(crate) fn decide_pattern(&self) -> PatternVerdict {
        let nowhere = Realm::new(&[], None);
        let candidates: Vec<PatternCandidate<'_, ValueBytes<'_>>> = self
            .iter()
            .map(|(candidate, admitted)| {
                let realm = candidate.view.realm.as_ref();
                let is_in_realm = |id: &Id| realm.is_some_and(|realm| realm.matches(id));
                let values = admitted.map(|admitted| {
                    let values = admitted.values.iter();
                    let values = values.filter(|(id, _)| is_in_realm(id) && !is_reserved(id));
                    values
                        .map(|(id, envelope)| (id.clone(), ValueBytes(envelope.value())))
                        .collect::<BTreeMap<_, _>>()
                });
                PatternCandidate {
                    rank: candidate.view.rank,
                    name: candidate.view.name.as_str(),
                    realm: realm.unwrap_or(&nowhere),
                    is_required: candidate.view.settings.required,
                    values: values.unwrap_or_default(),
                    gap: admitted.map_or(Gap::Others, |admitted| admitted.gap.clone()),
                }
            })
            .collect();
        rank::decide_pattern(&candidates)
    }
}

fn response<'a>(admitted: Option<&'a Admitted>, id: &Id) -> Response<ValueBytes<'a>> {
    let Some(admitted) = admitted else {
        return Response::Pending;
    };
    match (admitted.values.get(id), &admitted.gap) {
        (Some(envelope), _) => Response::Value(ValueBytes(envelope.value())),
        (None, Gap::Others) => Response::Failed,
        (None, Gap::Ids(ids)) if ids.contains(id) => Response::Failed,
        (None, _) => Response::Nothing,
    }
}

/// Returns the result of a query over the candidates of `plan`; `None` if it depends on a candidate that was not called.
pub(crate) fn evaluate(
    query: &Pattern,
    plan: &Plan,
    responses: &mut Responses,
) -> Option<Result<Resolution, Error>> {
    match query.as_id() {
        Some(id) => evaluate_id(&id, plan, responses),
        None => evaluate_pattern(query, plan, responses),
    }
}

fn evaluate_id(
    id: &Id,
    plan: &Plan,
    responses: &mut Responses,
) -> Option<Result<Resolution, Error>> {
    let ranked = RankedResponses::new(plan.candidates.iter(), responses);
    let error = match rank::decide(&ranked.of_id(id)) {
        Verdict::Undecided { .. } => return None,
        Verdict::Value { index } => {
            let name = ranked.name(index).clone();
            return Some(Ok(Resolution {
                envelopes: take(responses, &name, id).into_iter().collect(),
                failures: Vec::new(),
            }));
        }
        Verdict::NotFound => not_found(id.as_str(), plan),
        Verdict::Uncertain { failed } => uncertain(id.as_str(), &ranked.failures(&failed)),
        Verdict::Conflict { indices } => conflict(&ranked, id, &indices),
    };
    Some(Err(error))
}

fn evaluate_pattern(
    query: &Pattern,
    plan: &Plan,
    responses: &mut Responses,
) -> Option<Result<Resolution, Error>> {
    let ranked = RankedResponses::new(plan.candidates.iter(), responses);
    if !ranked.is_decided(query) {
        return None;
    }
    let verdict = ranked.decide_pattern();
    let mut failures = ranked.failures(&verdict.failed);
    failures.extend(conflicts(&ranked, &verdict));
    let result = match verdict.outcome {
        Outcome::NotFound => Err(not_found(query.as_str(), plan)),
        Outcome::Unavailable => Err(uncertain(query.as_str(), &failures)),
        Outcome::Conflict => Err(with_failures(
            Error::failed_precondition(format!(
                "providers of equal rank return different values for {}: {}. Give one of them a higher `priority`",
                repeated(query.as_str()),
                sentences(&failures)
            )),
            &failures,
        )),
        Outcome::Complete | Outcome::Partial => {
            let certain: Vec<(Id, PluginName)> = verdict
                .certain
                .into_iter()
                .map(|(id, index)| (id, ranked.name(index).clone()))
                .collect();
            let envelopes = certain
                .into_iter()
                .filter_map(|(id, name)| take(responses, &name, &id));
            Ok(Resolution {
                envelopes: envelopes.collect(),
                failures,
            })
        }
    };
    Some(result)
}

/// Moves a value out of the response that holds it.
fn take(responses: &mut Responses, name: &PluginName, id: &Id) -> Option<(Id, Envelope)> {
    let (_, admitted) = responses.get_mut(name)?;
    admitted.values.remove_entry(id)
}

/// Returns one failure for each provider that is in conflict with another.
fn conflicts(ranked: &RankedResponses<'_>, verdict: &PatternVerdict) -> Vec<Failure> {
    let mut by_provider: BTreeMap<usize, (usize, &Id)> = BTreeMap::new();
    for (id, indices) in &verdict.conflicts {
        for index in indices {
            by_provider.entry(*index).or_insert((0, id)).0 += 1;
        }
    }
    by_provider
        .into_iter()
        .map(|(index, (n_ids, first))| match n_ids {
            1 => ranked.conflict(index, format!("about {first}")),
            n_ids => ranked.conflict(index, format!("about {n_ids} ids, the first is {first}")),
        })
        .collect()
}

fn conflict(ranked: &RankedResponses<'_>, id: &Id, indices: &[usize]) -> Error {
    let names = indices.iter().map(|index| ranked.name(*index).to_string());
    let failures: Vec<Failure> = indices
        .iter()
        .map(|index| ranked.conflict(*index, format!("about {id}")))
        .collect();
    let message = format!(
        "{} has different values at {}, which are of equal rank. Give one of them a higher `priority`",
        repeated(id.as_str()),
        listed(names, " and at ")
    );
    with_failures(Error::failed_precondition(message), &failures)
}

fn uncertain(query: &str, failures: &[Failure]) -> Error {
    let ways_out: Vec<String> = failures.iter().take(MAX_LISTED).map(way_out).collect();
    let message = format!(
        "cannot tell what {} is: {}. {}",
        repeated(query),
        sentences(failures),
        ways_out.join(" ")
    );
    with_failures(Error::new(Code::Unavailable, message), failures)
}

/// Returns how to resolve without a provider that has failed.
fn way_out(failure: &Failure) -> String {
    let name = &failure.provider;
    let disable = format!("`keyway plugins disable {name}` answers without it");
    if failure.is_everything {
        format!("{disable}; its realm is `**`, which `[plugins.{name}] realm` limits.")
    } else {
        format!("{disable}.")
    }
}

/// Returns the sentences of the first failures, and how many more there are.
pub(super) fn sentences(failures: &[Failure]) -> String {
    listed(failures.iter().map(Failure::sentence), "; ")
}

/// Returns the first of `items`, and how many more there are.
pub(super) fn listed(items: impl ExactSizeIterator<Item = String>, separator: &str) -> String {
    let n_more = items.len().saturating_sub(MAX_LISTED);
    let mut items: Vec<String> = items.take(MAX_LISTED).collect();
    if n_more > 0 {
        items.push(format!("{n_more} more"));
    }
    items.join(separator)
}

/// Returns a query as far as a message repeats it.
fn repeated(query: &str) -> String {
    shortened(query, MAX_QUERY_CHARS)
}

fn not_found(query: &str, plan: &Plan) -> Error {
    let mut message = format!("no provider has a secret that matches {}", repeated(query));
    let excluded = plan.excluded.iter().map(|view| describe_state(view));
    if !plan.excluded.is_empty() {
        message = format!("{message}; {}", listed(excluded, ", "));
    }
    Error::not_found(message)
}

/// Returns a plugin with its state, as in `vault is disabled`.
pub(super) fn describe_state(view: &View) -> String {
    let state = view.state.as_str_name().trim_start_matches("PLUGIN_STATE_");
    format!("{} is {}", view.name, state.to_ascii_lowercase())
}

/// Returns the error for a query whose responses do not fit into the memory for them.
pub(crate) fn too_large(query: &Pattern, failure: &Failure) -> Error {
    let message = format!(
        "the responses to {} do not fit into the daemon's memory for them: {}. Query fewer ids at once, or raise `answer_memory`",
        repeated(query.as_str()),
        failure.sentence()
    );
    with_failures(
        Error::resource_exhausted(message),
        std::slice::from_ref(failure),
    )
}

/// Returns the error for a query of a reserved id, which no provider may hold.
pub(crate) fn reserved(query: &Pattern) -> Error {
    let query = repeated(query.as_str());
    Error::not_found(format!("{query} is reserved for access control"))
}

#[cfg(test)]
mod tests;
