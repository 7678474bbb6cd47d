//! The parts of a response that count.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keyway_proto::keyway::v1 as keyway;

use super::*;
use crate::plugin::testing::{envelope, failed, name, settings, view};

/// A provider of `db/**`, cut to `db/a/**`.
fn provider() -> View {
    let settings = settings("[plugins.vault]\nrealm = 'db/a/**'").plugin(&name("vault"));
    view(
        "vault",
        Some(&["db/**"]),
        failed(FailureKind::Down),
        &settings,
    )
}

fn secrets(envelopes: Vec<Envelope>) -> Secrets {
    Secrets {
        envelopes,
        n_too_large: 0,
        memory_len: 0,
        incomplete: None,
    }
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn admit_at_now(query: &str, secrets: Secrets) -> Admitted {
    let query = query.parse().expect("a pattern");
    admit(&provider(), &query, secrets, now())
}

fn ids(admitted: &Admitted) -> Vec<&str> {
    admitted.values.keys().map(Id::as_str).collect()
}

fn id(text: &str) -> Id {
    text.parse().expect("an id")
}

#[test]
fn ids_outside_the_query_are_dropped_silently() {
    let envelopes = ["db/a/x", "db/a/y", "db/b"].map(|id| envelope(id, "value"));
    let admitted = admit_at_now("db/a/x", secrets(envelopes.into()));
    assert_eq!(
        ids(&admitted),
        ["db/a/x"],
        "`db/b` is registered and cut by the configuration"
    );
    assert_eq!((admitted.gap, admitted.failure), (Gap::None, None));
}

#[test]
fn an_invalid_or_foreign_id_fails_the_provider_for_every_id_that_it_did_not_return() {
    for foreign in ["web/token", "not an id", "", "db//a"] {
        let envelopes = vec![envelope("db/a/x", "value"), envelope(foreign, "value")];
        let admitted = admit_at_now("**", secrets(envelopes));
        assert_eq!(ids(&admitted), ["db/a/x"], "{foreign:?}");
        assert_eq!(admitted.gap, Gap::Others);
        let failure = admitted.failure.expect("a failure");
        assert_eq!(failure.kind, FailureKind::Internal);
        assert_eq!(
            failure.sentence(),
            "vault failed: the response held 1 ids that are invalid or outside the realm"
        );
    }
}

#[test]
fn the_first_of_repeated_ids_counts() {
    let envelopes = vec![envelope("db/a/x", "first"), envelope("db/a/x", "second")];
    let admitted = admit_at_now("**", secrets(envelopes));
    assert_eq!(admitted.values[&id("db/a/x")].value(), b"first");
    assert_eq!(admitted.gap, Gap::None);
}

#[test]
fn an_incomplete_response_fails_for_the_ids_that_it_lacks() {
    let incomplete = Secrets {
        incomplete: Some(keyway::Failure::of_kind(FailureKind::Locked)),
        ..secrets(vec![envelope("db/a/x", "value")])
    };
    let admitted = admit_at_now("**", incomplete);
    assert_eq!(ids(&admitted), ["db/a/x"]);
    assert_eq!(admitted.gap, Gap::Others);
    let failure = admitted.failure.expect("a failure");
    assert_eq!(
        failure.sentence(),
        "vault is locked: the response is incomplete"
    );
}

#[test]
fn a_secret_beyond_the_limits_fails_its_provider_for_the_others() {
    let cut = Secrets {
        n_too_large: 2,
        ..secrets(vec![envelope("db/a/x", "value")])
    };
    let admitted = admit_at_now("**", cut);
    assert_eq!(ids(&admitted), ["db/a/x"]);
    assert_eq!(admitted.gap, Gap::Others);
    let failure = admitted.failure.expect("a failure");
    assert_eq!(
        failure.sentence(),
        "vault failed: the response held 2 secrets that exceed the limits"
    );
}

/// An envelope that expires at this time of the wire.
fn expiring(id: &str, seconds: i64, nanos: i32) -> Envelope {
    let mut envelope = envelope(id, "value");
    envelope.expires_at = Some(Timestamp { seconds, nanos });
    envelope
}

#[test]
fn a_value_counts_until_five_seconds_after_it_expired() {
    let now = 1_800_000_000;
    for (seconds, nanos, is_counted) in [
        (now + 1, 0, true),
        (now, 0, true),
        (now - 5, 0, true),
        (now - 6, 999_999_999, false),
        (now - 3600, 0, false),
        // "None", in two ways.
        (-62_135_596_800, 0, true),
        (0, 0, true),
        (1, 0, false),
        // The nearest time that exists counts.
        (i64::MAX, 0, true),
        (now + 1, -5, true),
        (now - 3600, 2_000_000_000, false),
        (i64::MIN, 0, false),
    ] {
        let envelopes = vec![
            expiring("db/a/x", seconds, nanos),
            envelope("db/a/y", "value"),
        ];
        let admitted = admit_at_now("**", secrets(envelopes));
        let shown = format!("{seconds} s {nanos} ns");
        if is_counted {
            assert_eq!(ids(&admitted), ["db/a/x", "db/a/y"], "{shown}");
            let expires_at = admitted.values[&id("db/a/x")].expires_at;
            assert!(timestamp::from_wire(expires_at).is_ok(), "{shown}");
        } else {
            assert_eq!(ids(&admitted), ["db/a/y"], "{shown}");
            assert_eq!(admitted.gap, Gap::Ids([id("db/a/x")].into()), "{shown}");
        }
    }
}

#[test]
fn the_failure_of_an_expired_value_states_when_it_expired() {
    let admitted = admit_at_now("**", secrets(vec![expiring("db/a/x", 1_700_000_000, 0)]));
    assert_eq!(
        admitted.failure.expect("a failure").sentence(),
        "vault cannot provide it now: the value of db/a/x expired at 2023-11-14T22:13:20Z"
    );
}

#[test]
fn an_expired_copy_beside_a_value_that_counts_is_forgotten() {
    let envelopes = vec![expiring("db/a/x", 1, 0), envelope("db/a/x", "value")];
    let admitted = admit_at_now("**", secrets(envelopes));
    assert_eq!(ids(&admitted), ["db/a/x"]);
    assert_eq!(admitted.gap, Gap::None);
}

#[test]
fn a_value_is_stamped_with_the_provider_and_times_that_every_peer_can_read() {
    let mut forged = envelope("db/a/x", "value");
    forged.provider = Some("file".into());
    let impossible = Timestamp {
        seconds: i64::MAX,
        nanos: -1,
    };
    (forged.created_at, forged.resolved_at) = (Some(impossible), Some(impossible));
    let admitted = admit_at_now("**", secrets(vec![forged]));
    let stamped = &admitted.values[&id("db/a/x")];
    assert_eq!(stamped.provider(), "vault");
    assert_eq!(stamped.resolved_at, Some(timestamp::to_wire(Some(now()))));
    assert_eq!(stamped.expires_at, Some(timestamp::to_wire(None)));
    assert!(timestamp::from_wire(stamped.created_at).is_ok());
}
