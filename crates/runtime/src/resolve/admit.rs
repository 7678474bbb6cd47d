//! Admission of a provider's response: realm, query and expiry are enforced here.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::time::{Duration, SystemTime};

use keyway_proto::keyway::v1::FailureKind;
use keyway_proto::resolver::v1::get_secrets_response::Envelope;
use keyway_proto::timestamp::{self, Timestamp};
use keyway_secrets::{Id, Pattern};

use super::failure::Failure;
use super::rank::Gap;
use crate::lines::peer_event;
use crate::model::expires_at;
use crate::plugin::{Secrets, View};

/// The time for which a value counts after it has expired: clocks differ a little.
const EXPIRY_GRACE: Duration = Duration::from_secs(5);

/// The part of one provider's response that counts.
#[derive(Debug, Clone)]
pub(crate) struct Admitted {
    pub(crate) values: BTreeMap<Id, Envelope>,
    /// The ids for which the provider has failed.
    pub(crate) gap: Gap,
    /// Why, unless the gap is none.
    pub(crate) failure: Option<Failure>,
}

impl Admitted {
    /// Creates the result of a provider that failed.
    pub(super) fn failed(failure: Failure) -> Self {
        Self {
            values: BTreeMap::new(),
            gap: Gap::Others,
            failure: Some(failure),
        }
    }

    /// Creates the result of a provider without a matching secret.
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
/// A provider that returns an invalid id, one outside its realm, or a secret beyond the limits has failed for every id that it did not validly return; one that
/// returns an expired value has failed for that id.
pub(super) fn admit(view: &View, query: &Pattern, secrets: Secrets, now: SystemTime) -> Admitted {
    let mut admitted = Admitted::nothing();
    let mut expired = BTreeMap::new();
    let mut faults = Faults {
        n_too_large: secrets.n_too_large,
        ..Faults::default()
    };
    for envelope in secrets.envelopes {
        match check(view, query, envelope, now) {
            Checked::Value(id, envelope) => match admitted.values.entry(id) {
                Entry::Vacant(free) => drop(free.insert(stamp(view, *envelope, now, &mut faults))),
                // An id names one secret; the first counts.
                Entry::Occupied(_) => faults.n_repeated += 1,
            },
            Checked::Expired(id, at) => drop(expired.insert(id, at)),
            Checked::Unrequested => {}
            Checked::Violation => faults.n_violations += 1,
        }
    }
    faults.log(view);
    expired.retain(|id, _| !admitted.values.contains_key(id));
    let failure = secrets
        .incomplete
        .map(|detail| Failure::of_detail(view, &detail, "the response is incomplete".to_owned()));
    let violation = faults
        .violation()
        .map(|message| Failure::new(view, FailureKind::Internal, message));
    if let Some(failure) = violation.or(failure) {
        admitted.gap = Gap::Others;
        admitted.failure = Some(failure);
    } else if let Some((id, at)) = expired.first_key_value() {
        admitted.failure = Some(expired_failure(view, id, *at));
        admitted.gap = Gap::Ids(expired.into_keys().collect::<BTreeSet<_>>());
    }
    admitted
}

/// The faults of one response, counted, so that they are logged in one line.
#[derive(Default)]
struct Faults {
    /// Ids that are invalid or outside the realm.
    n_violations: usize,
    /// Secrets whose value or metadata exceeds the limits.
    n_too_large: usize,
    n_repeated: usize,
    n_times: usize,
}

impl Faults {
    /// Returns the reason why the response is incomplete.
    fn violation(&self) -> Option<String> {
        let held = match (self.n_violations, self.n_too_large) {
            (0, 0) => return None,
            (0, n) => format!("{n} secrets that exceed the limits"),
            (n, _) => format!("{n} ids that are invalid or outside the realm"),
        };
        Some(format!("the response held {held}"))
    }

    fn log(&self, view: &View) {
        let Self {
            n_violations,
            n_too_large,
            n_repeated,
            n_times,
        } = self;
        // An invalid id may be anything, so it is not repeated.
        let text = match (n_violations, n_too_large, n_repeated, n_times) {
            (0, 0, 0, 0) => return,
            (0, 0, 0, _) => "response held impossible times; they became the nearest ones",
            (0, 0, _, _) => "response held ids more than once; the first of each counts",
            (0, ..) => "response held secrets that exceed the limits",
            _ => "realm violation: response held ids that are invalid or outside the realm",
        };
        peer_event!(
            view.record.fault_lines,
            WARN,
            plugin = %view.name, n_violations, n_too_large, n_repeated, n_times, "{text}"
        );
    }

    /// Returns the time as every peer can read it, so that one provider's mistake does not cost the caller the other envelopes.
    fn normalized(&mut self, time: Option<Timestamp>) -> Timestamp {
        // Go peers read an absent time as 1970 and so as expired; "none" has to be said.
        let time = time.unwrap_or_else(|| timestamp::to_wire(None));
        timestamp::repaired(&time).map_or(time, |near| {
            self.n_times += 1;
            near
        })
    }
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
        _ => Checked::Value(id, Box::new(envelope)),
    }
}

fn expired_failure(view: &View, id: &Id, at: SystemTime) -> Failure {
    let time = timestamp::to_wire(Some(at));
    let message = format!("the value of {id} expired at {time}");
    Failure::new(view, FailureKind::Unavailable, message)
}

fn stamp(view: &View, mut envelope: Envelope, now: SystemTime, faults: &mut Faults) -> Envelope {
    envelope.provider = Some(view.name.to_string());
    let resolved_at = envelope
        .resolved_at
        .take()
        .and_then(|time| timestamp::from_wire(Some(time)).ok().flatten());
    envelope.resolved_at = Some(timestamp::to_wire(Some(resolved_at.unwrap_or(now))));
    envelope.created_at = Some(faults.normalized(envelope.created_at.take()));
    envelope.expires_at = Some(faults.normalized(envelope.expires_at.take()));
    envelope
}

#[cfg(test)]
mod tests;
