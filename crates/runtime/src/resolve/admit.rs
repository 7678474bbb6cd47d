//! Admission of a provider's response: realm, query and expiry are enforced here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use keyway_proto::keyway::v1::FailureKind;
use keyway_proto::resolver::v1::get_secrets_response::Envelope;
use keyway_proto::timestamp::{self, Timestamp};
use keyway_secrets::{Id, Pattern};

use super::failure::Failure;
use super::rank::Gap;
use crate::model::expires_at;
use crate::plugin::{Secrets, View};

/// How long a value counts after it has expired: clocks differ a little.
const EXPIRY_GRACE: Duration = Duration::from_secs(5);

/// The part of one provider's response that counts.
#[derive(Debug, Clone)]
pub(crate) struct Admitted {
    pub(crate) values: BTreeMap<Id, Envelope>,
    /// For which ids the provider has failed.
    pub(crate) gap: Gap,
    /// Why, unless the gap is none.
    pub(crate) failure: Option<Failure>,
}

impl Admitted {
    /// Nothing, because the provider failed.
    pub(super) fn failed(failure: Failure) -> Self {
        Self {
            values: BTreeMap::new(),
            gap: Gap::Others,
            failure: Some(failure),
        }
    }

    /// Nothing, because the store holds no match.
    pub(super) fn nothing() -> Self {
        Self {
            values: BTreeMap::new(),
            gap: Gap::None,
            failure: None,
        }
    }
}

/// The check of one envelope.
enum Checked {
    Value(Id, Box<Envelope>),
    /// An id of the realm that the query does not match: a provider may ignore the query.
    Unrequested,
    /// An invalid id, or one outside the realm.
    Violation,
    Expired(Id, SystemTime),
}

/// Admits the values that are in the realm of `view` and match `query`, stamped with the provider's name and the time.
///
/// A provider that returns an invalid id or one outside its realm has failed for every id that it did not validly return; one that
/// returns an expired value has failed for that id.
pub(super) fn admit(view: &View, query: &Pattern, secrets: Secrets, now: SystemTime) -> Admitted {
    let mut message = secrets.message;
    let mut admitted = Admitted::nothing();
    let (mut n_violations, mut n_repeated, mut expired) = (0_usize, 0_usize, BTreeMap::new());
    for envelope in std::mem::take(&mut message.envelopes) {
        match check(view, query, envelope, now) {
            Checked::Value(id, envelope) => match admitted.values.entry(id) {
                std::collections::btree_map::Entry::Vacant(free) => drop(free.insert(*envelope)),
                // An id names one secret; the first counts.
                std::collections::btree_map::Entry::Occupied(_) => n_repeated += 1,
            },
            Checked::Expired(id, at) => drop(expired.insert(id, at)),
            Checked::Unrequested => {}
            Checked::Violation => n_violations += 1,
        }
    }
    if n_repeated > 0 {
        tracing::warn!(plugin = %view.name, n_repeated, "response held ids more than once; the first of each counts");
    }
    if n_violations > 0 {
        // An invalid id may be anything, so it is not repeated.
        tracing::warn!(plugin = %view.name, n_violations, "realm violation: response held ids that are invalid or outside the realm");
    }
    expired.retain(|id, _| !admitted.values.contains_key(id));
    let failure = secrets
        .incomplete
        .map(|detail| Failure::of_detail(view, &detail, "the response is incomplete".to_owned()));
    let violation = (n_violations > 0).then(|| {
        let message =
            format!("the response held {n_violations} ids that are invalid or outside the realm");
        Failure::new(view, FailureKind::Internal, message)
    });
    if let Some(failure) = violation.or(failure) {
        admitted.gap = Gap::Others;
        admitted.failure = Some(failure);
    } else if let Some((id, at)) = expired.first_key_value() {
        admitted.failure = Some(expired_failure(view, id, *at));
        admitted.gap = Gap::Ids(expired.into_keys().collect::<BTreeSet<_>>());
    }
    admitted
}

fn check(view: &View, query: &Pattern, envelope: Envelope, now: SystemTime) -> Checked {
    let Ok(id) = envelope.id().parse::<Id>() else {
        return Checked::Violation;
    };
    let Some(realm) = &view.realm else {
        return Checked::Violation;
    };
    if !realm.is_registered(&id) {
        return Checked::Violation;
    }
    if !realm.matches(&id) || !query.matches(&id) {
        return Checked::Unrequested;
    }
    match expires_at(&envelope) {
        Some(at) if at + EXPIRY_GRACE < now => Checked::Expired(id, at),
        _ => Checked::Value(id, Box::new(stamp(view, envelope, now))),
    }
}

fn expired_failure(view: &View, id: &Id, at: SystemTime) -> Failure {
    let time = timestamp::to_wire(Some(at));
    let message = format!("the value of {id} expired at {time}");
    Failure::new(view, FailureKind::Unavailable, message)
}

fn stamp(view: &View, mut envelope: Envelope, now: SystemTime) -> Envelope {
    envelope.provider = Some(view.name.to_string());
    let resolved_at = envelope
        .resolved_at
        .take()
        .and_then(|time| timestamp::from_wire(Some(time)).ok().flatten());
    envelope.resolved_at = Some(timestamp::to_wire(Some(resolved_at.unwrap_or(now))));
    envelope.created_at = Some(normalized(view, "created_at", envelope.created_at.take()));
    envelope.expires_at = Some(normalized(view, "expires_at", envelope.expires_at.take()));
    envelope
}

/// The time as every peer can read it, so that one provider's mistake does not cost the caller the other envelopes.
fn normalized(view: &View, field: &str, time: Option<Timestamp>) -> Timestamp {
    // Go peers read an absent time as 1970 and so as expired; "none" has to be said.
    let time = time.unwrap_or_else(|| timestamp::to_wire(None));
    timestamp::repaired(&time).map_or(time, |near| {
        tracing::warn!(plugin = %view.name, field, "response held an impossible time; it became the nearest one");
        near
    })
}

#[cfg(test)]
mod tests;
