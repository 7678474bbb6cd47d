//! Which value of several providers counts, if any: one pure function for one id, applied to each id of a pattern.
//!
//! Providers are ordered by [`Rank`]. From the highest rank downwards, a failed candidate makes the id uncertain, one value or
//! several equal ones are the value, different values are a conflict, and no matching secret leads to the next rank. Lower ranks
//! never matter: neither their failures nor how long they take.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use keyway_secrets::Id;

use crate::model::{Rank, Realm};

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

/// The response of one candidate about one id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Response<V> {
    /// It returned this value.
    Value(V),
    /// It has no matching secret.
    Nothing,
    /// It failed, for whatever reason.
    Failed,
    /// Its response is outstanding, or it has not been called.
    Pending,
}

/// A provider that could hold an id, and its response about that id.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<'a, V> {
    pub(crate) rank: Rank,
    pub(crate) name: &'a str,
    pub(crate) response: Response<V>,
}

/// The verdict for one id. The numbers are positions in the slice of candidates, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The value of this candidate: the first by name of those that returned it.
    Value { index: usize },
    /// Every candidate has responded, and none has a matching secret.
    NotFound,
    /// A candidate of the deciding rank failed. Other candidates of that rank may still be pending.
    Uncertain { failed: Vec<usize> },
    /// These candidates of equal rank returned values, not all of them equal.
    Conflict { indices: Vec<usize> },
    /// Depends on these candidates: the pending ones of the rank that decides.
    Undecided { waiting: Vec<usize> },
}

/// Returns the order in which [`decide`] and [`decide_pattern`] expect candidates: the highest rank first, then by name.
pub(crate) fn order(a: (Rank, &str), b: (Rank, &str)) -> std::cmp::Ordering {
    b.0.cmp(&a.0).then_with(|| a.1.cmp(b.1))
}

/// Decides one id. `candidates` are in [`order`].
///
/// Once a verdict is not [`Verdict::Undecided`], further responses never change it, except that more failed candidates of the same
/// rank may be named.
pub(crate) fn decide<V: PartialEq>(candidates: &[Candidate<'_, V>]) -> Verdict {
    debug_assert!(
        candidates.is_sorted_by(|a, b| order((a.rank, a.name), (b.rank, b.name)).is_le()),
        "the candidates are not in rank order"
    );
    let Some(deciding) = deciding_rank(candidates) else {
        return Verdict::NotFound;
    };
    let of_rank = || deciding.clone().zip(&candidates[deciding.clone()]);
    let those = |is_one: fn(&Response<V>) -> bool| -> Vec<usize> {
        let matching = of_rank().filter(|(_, candidate)| is_one(&candidate.response));
        matching.map(|(index, _)| index).collect()
    };
    let failed = those(|response| matches!(response, Response::Failed));
    if !failed.is_empty() {
        return Verdict::Uncertain { failed };
    }
    // A pending candidate may still fail, which would take precedence over a conflict, or return another value.
    let waiting = those(|response| matches!(response, Response::Pending));
    if !waiting.is_empty() {
        return Verdict::Undecided { waiting };
    }
    let indices = those(|response| matches!(response, Response::Value(_)));
    let first = indices[0];
    let is_equal = |index: &usize| match (&candidates[first].response, &candidates[*index].response)
    {
        (Response::Value(a), Response::Value(b)) => a == b,
        _ => false,
    };
    if indices.iter().all(is_equal) {
        Verdict::Value { index: first }
    } else {
        Verdict::Conflict { indices }
    }
}

/// Returns the pending candidates that may be called for one id now, those already called included.
///
/// An interactive one is called only after every higher rank has responded that it has no matching secret, and not after the id is
/// decided. The others are called at once.
pub(crate) fn callable<V: PartialEq>(candidates: &[Candidate<'_, V>]) -> Vec<usize> {
    let waiting = match decide(candidates) {
        Verdict::Undecided { waiting } => waiting,
        _ => return Vec::new(),
    };
    let may_be_called = |index: &usize| {
        let candidate = &candidates[*index];
        matches!(candidate.response, Response::Pending)
            && (!candidate.rank.interactive || waiting.contains(index))
    };
    (0..candidates.len()).filter(may_be_called).collect()
}

/// Returns the candidates of the highest rank in which one has anything but no matching secret.
fn deciding_rank<V>(candidates: &[Candidate<'_, V>]) -> Option<Range<usize>> {
    let is_open = |candidate: &Candidate<'_, V>| !matches!(candidate.response, Response::Nothing);
    let first_open = candidates.iter().position(is_open)?;
    let rank = candidates[first_open].rank;
    let start = candidates.partition_point(|candidate| candidate.rank > rank);
    let len = candidates[start..].partition_point(|candidate| candidate.rank == rank);
    Some(start..start + len)
}

/// The ids of a pattern for which a candidate failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Gap {
    /// No id: the response is complete.
    None,
    /// These ids, as with a value that has expired; the rest of the response is complete.
    Ids(BTreeSet<Id>),
    /// Every id of its realm that it did not return: it failed altogether, cannot list, returned an id outside its realm, or
    /// said that the response is incomplete.
    Others,
}

/// A provider whose realm overlaps a pattern, and its response to that pattern.
#[derive(Debug, Clone)]
pub(crate) struct PatternCandidate<'a, V> {
    pub(crate) rank: Rank,
    pub(crate) name: &'a str,
    pub(crate) realm: &'a Realm,
    /// `required` of the configuration: if it failed, the whole query fails.
    pub(crate) is_required: bool,
    /// The values that count, by id.
    pub(crate) values: BTreeMap<Id, V>,
    pub(crate) gap: Gap,
}

impl<V> PatternCandidate<'_, V> {
    fn has_failed(&self) -> bool {
        self.gap != Gap::None
    }

    fn response(&self, id: &Id) -> Response<&V> {
        if let Some(value) = self.values.get(id) {
            return Response::Value(value);
        }
        let is_failed = match &self.gap {
            Gap::None => false,
            Gap::Ids(ids) => ids.contains(id),
            Gap::Others => self.realm.matches(id),
        };
        if is_failed {
            Response::Failed
        } else {
            Response::Nothing
        }
    }
}

/// The result of a query for a pattern. Ids ascend; the numbers are positions in the slice of candidates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PatternVerdict {
    /// The ids that are returned, each with the candidate whose value counts.
    pub(crate) certain: Vec<(Id, usize)>,
    /// Ids that are omitted because these candidates failed.
    pub(crate) uncertain: Vec<(Id, Vec<usize>)>,
    /// Ids that are omitted because these candidates disagree.
    pub(crate) conflicts: Vec<(Id, Vec<usize>)>,
    /// Every failed candidate, in rank order.
    pub(crate) failed: Vec<usize>,
    pub(crate) outcome: Outcome,
}

/// The result of a query for a pattern, towards the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The certain ids are returned, and nothing is missing.
    Complete,
    /// The certain ids are returned beside the failures and conflicts.
    Partial,
    /// `not_found`: every candidate has responded, and none has a matching secret.
    NotFound,
    /// `unavailable`: a required candidate failed, or a candidate failed and no id is certain.
    Unavailable,
    /// `failed_precondition`: no candidate failed, every returned id is in conflict.
    Conflict,
}

/// Decides each id that a candidate returned, and the query as a whole. `candidates` are in [`order`]; all have responded or
/// failed.
pub(crate) fn decide_pattern<V: PartialEq>(
    candidates: &[PatternCandidate<'_, V>],
) -> PatternVerdict {
    let (mut certain, mut uncertain, mut conflicts) = (Vec::new(), Vec::new(), Vec::new());
    for id in returned_ids(candidates) {
        match decide_id(candidates, id) {
            Verdict::Value { index } => certain.push((id.clone(), index)),
            Verdict::Uncertain { failed } => uncertain.push((id.clone(), failed)),
            Verdict::Conflict { indices } => conflicts.push((id.clone(), indices)),
            Verdict::NotFound | Verdict::Undecided { .. } => {}
        }
    }
    let failed: Vec<usize> = (0..candidates.len())
        .filter(|index| candidates[*index].has_failed())
        .collect();
    // A value that has expired makes that id uncertain, not the query.
    let is_required_missing = candidates
        .iter()
        .any(|candidate| candidate.is_required && candidate.gap == Gap::Others);
    let outcome = match (certain.is_empty(), failed.is_empty(), conflicts.is_empty()) {
        _ if is_required_missing => Outcome::Unavailable,
        (false, true, true) => Outcome::Complete,
        (false, ..) => Outcome::Partial,
        (true, false, _) => Outcome::Unavailable,
        (true, true, false) => Outcome::Conflict,
        (true, true, true) => Outcome::NotFound,
    };
    PatternVerdict {
        certain,
        uncertain,
        conflicts,
        failed,
        outcome,
    }
}

/// Returns every id that a candidate returned, also with a value that does not count.
fn returned_ids<'a, V>(candidates: &'a [PatternCandidate<'_, V>]) -> BTreeSet<&'a Id> {
    let mut ids = BTreeSet::new();
    for candidate in candidates {
        ids.extend(candidate.values.keys());
        if let Gap::Ids(failed) = &candidate.gap {
            ids.extend(failed);
        }
    }
    ids
}

fn decide_id<V: PartialEq>(candidates: &[PatternCandidate<'_, V>], id: &Id) -> Verdict {
    let of_id: Vec<Candidate<'_, &V>> = candidates
        .iter()
        .map(|candidate| Candidate {
            rank: candidate.rank,
            name: candidate.name,
            response: candidate.response(id),
        })
        .collect();
    decide(&of_id)
}

/// The bytes of a value, compared without an early end at the first difference and never shown.
#[derive(Clone, Copy)]
pub(crate) struct ValueBytes<'a>(pub(crate) &'a [u8]);

impl PartialEq for ValueBytes<'_> {
    fn eq(&self, other: &Self) -> bool {
        let difference = self.0.iter().zip(other.0).fold(0, |difference, (a, b)| {
            std::hint::black_box(difference | (a ^ b))
        });
        self.0.len() == other.0.len() && difference == 0
    }
}

impl Eq for ValueBytes<'_> {}

impl std::fmt::Debug for ValueBytes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ValueBytes([redacted])")
    }
}
