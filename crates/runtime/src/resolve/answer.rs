//! What of a provider's answer counts.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use keyway_proto::resolver::v1::get_secrets_response::Envelope;
use keyway_proto::timestamp::{self, Timestamp};
use keyway_secrets::{Id, Pattern};

use super::Failure;
use crate::realm::Realm;
use crate::registry::{Entry, Origin};

/// One provider's answer, or why there is none.
#[derive(Debug)]
pub(super) struct Answer {
    rank: (i64, Origin),
    envelopes: Vec<Envelope>,
    provider: Arc<Entry>,
    pub(super) failure: Option<Failure>,
}

impl Answer {
    pub(super) fn found(entry: &Arc<Entry>, envelopes: Vec<Envelope>) -> Self {
        Self {
            rank: entry.rank(),
            envelopes,
            provider: Arc::clone(entry),
            failure: None,
        }
    }

    pub(super) fn failed(entry: &Arc<Entry>, failure: Failure) -> Self {
        Self {
            failure: Some(failure),
            ..Self::found(entry, Vec::new())
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.envelopes.is_empty()
    }
}

/// The envelopes that a provider may give and was asked for, stamped with its name and the time. The others are dropped and
/// logged: a provider can never answer for a realm that is not its own.
pub(super) fn admit(
    entry: &Entry,
    realm: &Realm,
    query: &Pattern,
    envelopes: Vec<Envelope>,
    now: SystemTime,
) -> Vec<Envelope> {
    let admissible = envelopes
        .into_iter()
        .filter(|envelope| is_admissible(entry, realm, query, envelope.id()))
        .map(|envelope| stamp(entry, envelope, now))
        .collect();
    without_repetitions(entry, admissible, Envelope::id)
}

/// The first of each id: an id names one secret, so what a provider says of it again cannot be told apart by anybody.
pub(super) fn without_repetitions<T>(
    entry: &Entry,
    mut answers: Vec<T>,
    id: impl Fn(&T) -> &str,
) -> Vec<T> {
    if answers.len() < 2 {
        return answers;
    }
    let mut seen = HashSet::with_capacity(answers.len());
    let is_first: Vec<bool> = answers
        .iter()
        .map(|answer| seen.insert(id(answer)))
        .collect();
    let repeated = answers.len() - seen.len();
    if repeated > 0 {
        tracing::warn!(plugin = %entry.name, repeated, "the answer held ids more than once; the first of each counts");
        let mut is_first = is_first.into_iter();
        answers.retain(|_| is_first.next().unwrap_or(true));
    }
    answers
}

pub(super) fn is_admissible(entry: &Entry, realm: &Realm, query: &Pattern, id: &str) -> bool {
    let violation = match id.parse::<Id>() {
        Err(_) => "an id that is not valid",
        Ok(id) if !realm.matches(&id) => "an id outside its realm",
        Ok(id) if !query.matches(&id) => "an id that was not asked for",
        Ok(_) => return true,
    };
    // What is no id may be anything, so it is not repeated.
    tracing::warn!(plugin = %entry.name, realm = %realm, query = %query, "realm violation: the answer held {violation}; it was dropped");
    false
}

fn stamp(entry: &Entry, mut envelope: Envelope, now: SystemTime) -> Envelope {
    envelope.provider = Some(entry.name.to_string());
    let resolved_at = envelope
        .resolved_at
        .take()
        .and_then(|time| timestamp::from_wire(Some(time)).ok().flatten());
    envelope.resolved_at = Some(timestamp::to_wire(Some(resolved_at.unwrap_or(now))));
    envelope.created_at = Some(legible(entry, "created_at", envelope.created_at.take()));
    envelope.expires_at = Some(legible(entry, "expires_at", envelope.expires_at.take()));
    envelope
}

/// The time as every peer can read it, so that one provider's mistake does not cost the caller the answers of all.
fn legible(entry: &Entry, field: &str, time: Option<Timestamp>) -> Timestamp {
    // Go peers read an absent time as 1970 and so as expired; "none" has to be said.
    let time = time.unwrap_or_else(|| timestamp::to_wire(None));
    timestamp::repaired(&time).map_or(time, |near| {
        tracing::warn!(plugin = %entry.name, field, "the answer held an impossible time; it became the nearest one");
        near
    })
}

/// All envelopes in the order of the answers. Where several providers have one id, those of the highest rank stay; of equal
/// rank all stay, so that the caller can see that they disagree.
pub(super) fn merge(answers: Vec<Answer>) -> Vec<Envelope> {
    let mut answers: Vec<Answer> = answers
        .into_iter()
        .filter(|answer| !answer.is_empty())
        .collect();
    answers.sort_by(|a, b| a.provider.name.cmp(&b.provider.name));
    if answers.len() > 1 {
        drop_outranked(&mut answers);
    }
    answers
        .into_iter()
        .flat_map(|answer| answer.envelopes)
        .collect()
}

fn drop_outranked(answers: &mut [Answer]) {
    let mut best: HashMap<String, (i64, Origin)> = HashMap::new();
    for answer in answers.iter() {
        for envelope in &answer.envelopes {
            let rank = best.entry(envelope.id().to_owned()).or_insert(answer.rank);
            *rank = answer.rank.max(*rank);
        }
    }
    for answer in answers {
        let rank = answer.rank;
        answer
            .envelopes
            .retain(|envelope| best.get(envelope.id()) == Some(&rank));
    }
}
