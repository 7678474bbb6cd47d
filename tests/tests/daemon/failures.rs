//! Failures of a provider as the client receives them: kind, code and the provider's remedy, never a value of a lower rank.

use std::time::Duration;

use keyway_proto::FAILURES_HEADER;
use keyway_proto::keyway::v1::FailureKind as Wire;
use keyway_proto::plugins::v1::RunStatus;
use keyway_proto::resolver::v1::{GetSecretsRequest, ResolverServiceClient};
use keyway_resolver::{FailureKind, ResolveError};
use keyway_rpc::{BinaryMetadata as _, Code};
use keyway_tests::TestDaemon;
use keyway_tests::daemon::the_failure;
use keyway_tests::script::{Description, Failing, QueryResponse, Script};

use crate::common::{
    ID, home_with, n_calls, provider, provider_of, responding, start_pair, start_with,
};

/// Every Connect code without a detail, and bytes that are not a response.
#[tokio::test]
async fn a_failure_without_a_detail_has_the_kind_of_its_code() {
    let daemon = start_pair().await;
    let code = |code: &str| QueryResponse::Code(code.into());
    let expected = [
        (code("failed_precondition"), FailureKind::Locked),
        (code("permission_denied"), FailureKind::Denied),
        (code("unavailable"), FailureKind::Unavailable),
        (code("deadline_exceeded"), FailureKind::TimedOut),
        (code("resource_exhausted"), FailureKind::Quota),
        (code("unauthenticated"), FailureKind::Unauthenticated),
        (code("unimplemented"), FailureKind::Internal),
        (code("invalid_argument"), FailureKind::Internal),
        (code("internal"), FailureKind::Internal),
        (code("unknown"), FailureKind::Internal),
        (code("aborted"), FailureKind::Internal),
        (code("data_loss"), FailureKind::Internal),
        (code("out_of_range"), FailureKind::Internal),
        (code("already_exists"), FailureKind::Internal),
        (code("canceled"), FailureKind::Internal),
        (QueryResponse::Garbage, FailureKind::Internal),
        (QueryResponse::Exit(3), FailureKind::Internal),
    ];
    for (response, kind) in expected {
        daemon.home.change("hi", &responding(response.clone()));
        let error = daemon.value(ID).await.expect_err("uncertain");
        let failure = the_failure(&error);
        assert_eq!(
            (failure.name.as_str(), failure.kind),
            ("hi", kind),
            "{response:?}"
        );
    }
    daemon.stop().await;
}

/// The kinds that a provider may report, each with its advice.
#[tokio::test]
async fn a_failure_with_a_detail_keeps_its_kind_and_its_advice() {
    let daemon = start_pair().await;
    let kinds = [
        (Wire::Locked, FailureKind::Locked),
        (Wire::NeedsUser, FailureKind::NeedsUser),
        (Wire::Denied, FailureKind::Denied),
        (Wire::Unavailable, FailureKind::Unavailable),
        (Wire::TimedOut, FailureKind::TimedOut),
        (Wire::Quota, FailureKind::Quota),
        (Wire::Fatal, FailureKind::Fatal),
        (Wire::Unauthenticated, FailureKind::Unauthenticated),
        (Wire::CannotList, FailureKind::CannotList),
        (Wire::Internal, FailureKind::Internal),
    ];
    for (kind, expected) in kinds {
        let failing = Failing::new(kind).with_remedy("run `unlock \x1b[31mit`");
        daemon
            .home
            .change("hi", &responding(QueryResponse::Failure(failing)));
        let reply = daemon.call("get", ID).await;
        assert_eq!(reply.outcome(), "unavailable", "{kind:?}: {reply:?}");
        let error = daemon.value(ID).await.expect_err("uncertain");
        let failure = the_failure(&error);
        assert_eq!((failure.name.as_str(), failure.kind), ("hi", expected));
        assert!(
            failure.remedy.contains("unlock") && !failure.remedy.contains('\x1b'),
            "{:?}",
            failure.remedy
        );
        let text = error.to_string();
        assert!(text.contains("keyway plugins disable hi"), "{text}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_store_that_cannot_hold_the_id_leads_to_the_next_rank_for_one_id_only() {
    let daemon = start_pair().await;
    let invalid = QueryResponse::Failure(Failing::new(Wire::Invalid));
    daemon.home.change("hi", &responding(invalid));
    assert_eq!(daemon.value(ID).await.expect("a value"), "lower");
    let error = daemon.get("db/*").await.expect_err("uncertain");
    assert_eq!(the_failure(&error).kind, FailureKind::Invalid, "{error}");
    daemon
        .home
        .change("hi", &responding(QueryResponse::Code("not_found".into())));
    assert_eq!(daemon.value(ID).await.expect("a value"), "lower");
    daemon.home.change("hi", &provider_of(&[]));
    assert_eq!(daemon.value(ID).await.expect("a value"), "lower");
    daemon.stop().await;
}

#[tokio::test]
async fn a_failed_lower_rank_does_not_matter_to_one_id() {
    let daemon = start_pair().await;
    daemon
        .home
        .change("lo", &responding(QueryResponse::Code("internal".into())));
    let secrets = daemon.get(ID).await.expect("certain");
    assert!(secrets.failures.is_empty(), "{:?}", secrets.failures);
    // For a pattern it is named, since it could hold other ids.
    let secrets = daemon.get("db/*").await.expect("certain ids");
    let names: Vec<_> = secrets.failures.iter().map(|f| f.name.clone()).collect();
    assert_eq!((secrets.envelopes.len(), names), (1, vec!["lo".to_owned()]));
    daemon.stop().await;
}

#[tokio::test]
async fn a_quota_is_respected_until_it_ends() {
    let daemon = start_pair().await;
    let quota = Failing::new(Wire::Quota).with_retry_after(Duration::from_secs(600));
    daemon
        .home
        .change("hi", &responding(QueryResponse::Failure(quota)));
    daemon.value(ID).await.expect_err("used up");
    daemon.home.change("hi", &provider("right"));
    let error = daemon.value(ID).await.expect_err("still used up");
    let failure = the_failure(&error);
    assert_eq!(failure.kind, FailureKind::Quota);
    let left = failure.retry_after.expect("a time");
    assert!(
        left <= Duration::from_secs(600) && left > Duration::from_secs(500),
        "{left:?}"
    );
    assert_eq!(n_calls(&daemon, "hi"), 1);
    daemon.stop().await;
}

#[tokio::test]
async fn an_expired_value_is_a_failure_for_its_id() {
    let daemon = start_pair().await;
    let mut expired = provider("right");
    // 2001.
    expired.expires_at = Some(1_000_000_000);
    daemon.home.change("hi", &expired);
    let error = daemon.value(ID).await.expect_err("expired");
    let failure = the_failure(&error);
    assert!(failure.message.contains("expired at 2001"), "{failure:?}");
    // The provider has not failed for any other id.
    let error = daemon.value("db/other").await.expect_err("not found");
    assert!(matches!(error, ResolveError::NotFound { .. }), "{error:?}");
    for never in [0, -62_135_596_800] {
        expired.expires_at = Some(never);
        daemon.home.change("hi", &expired);
        assert_eq!(daemon.value(ID).await.expect("no expiry"), "right");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn an_incomplete_response_fails_for_the_ids_that_it_lacks() {
    let daemon = start_with(&[
        ("hi", 10, provider("right")),
        (
            "lo",
            0,
            provider_of(&[(ID, "lower"), ("db/other", "lower")]),
        ),
    ])
    .await;
    let mut incomplete = provider("right");
    incomplete.incomplete = Some(Failing::new(Wire::Unavailable));
    daemon.home.change("hi", &incomplete);
    assert_eq!(daemon.value(ID).await.expect("a value"), "right");
    let error = daemon.value("db/other").await.expect_err("uncertain");
    assert_eq!(the_failure(&error).kind, FailureKind::Unavailable);
    assert_eq!(
        daemon.ids("db/*").await,
        [(ID.to_owned(), "hi".to_owned())],
        "db/other is omitted"
    );
    daemon.stop().await;
}

#[tokio::test]
async fn ids_outside_the_query_are_dropped_and_ids_outside_the_realm_are_a_failure() {
    let daemon = start_with(&[
        ("hi", 10, provider("right")),
        (
            "lo",
            0,
            provider_of(&[(ID, "lower"), ("db/other", "lower")]),
        ),
    ])
    .await;
    let mut chatty = provider_of(&[]);
    chatty.unrequested = vec![ID.into()];
    daemon.home.change("hi", &chatty);
    // It ignores the query: its response for this id is "nothing".
    assert_eq!(daemon.value("db/other").await.expect("a value"), "lower");
    for foreign in ["mail/password", "not an id", ""] {
        let mut violating = provider("right");
        violating.unrequested = vec![foreign.into()];
        daemon.home.change("hi", &violating);
        assert_eq!(daemon.value(ID).await.expect("a value"), "right");
        let error = daemon.value("db/other").await.expect_err("uncertain");
        let failure = the_failure(&error);
        assert_eq!(failure.kind, FailureKind::Internal, "{foreign:?}");
        assert!(!failure.message.contains("mail/password"), "{failure:?}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_provider_that_cannot_list_makes_its_realm_uncertain_for_a_pattern() {
    let cannot_list = QueryResponse::FailureForPatterns(Failing::new(Wire::CannotList));
    let daemon = start_with(&[
        ("hi", 10, responding(cannot_list)),
        (
            "lo",
            0,
            Script {
                pattern: Some("**".into()),
                ..provider_of(&[("db/other", "lower"), ("mail/token", "certain")])
            },
        ),
    ])
    .await;
    assert_eq!(daemon.value(ID).await.expect("a value"), "right");
    let secrets = daemon.get("**").await.expect("a partial result");
    let ids: Vec<_> = secrets.envelopes.iter().map(|e| e.id.as_str()).collect();
    assert_eq!(ids, ["mail/token"]);
    assert_eq!(secrets.failures[0].kind, FailureKind::CannotList);
    let error = daemon.get("db/*").await.expect_err("nothing certain");
    assert_eq!(the_failure(&error).name, "hi");
    daemon.stop().await;
}

#[tokio::test]
async fn providers_of_equal_rank_agree_or_are_in_conflict() {
    let daemon = start_with(&[
        ("left", 0, provider_of(&[(ID, "one"), ("db/same", "same")])),
        (
            "right",
            0,
            provider_of(&[(ID, "another"), ("db/same", "same")]),
        ),
    ])
    .await;
    assert_eq!(daemon.value("db/same").await.expect("a value"), "same");
    let error = daemon.value(ID).await.expect_err("a conflict");
    let ResolveError::Conflict { message, failures } = &error else {
        panic!("{error:?}");
    };
    assert!(message.contains("priority"), "{message}");
    let names: Vec<_> = failures.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["left", "right"]);
    assert_eq!(
        daemon.call("get", ID).await.outcome(),
        "failed_precondition"
    );
    let secrets = daemon.get("db/*").await.expect("a partial result");
    let ids: Vec<_> = secrets.envelopes.iter().map(|e| e.id.as_str()).collect();
    assert_eq!(ids, ["db/same"]);
    assert!(
        secrets
            .failures
            .iter()
            .all(|failure| failure.kind == FailureKind::Conflict)
    );
    // If one of two equals has failed, the value of the other is uncertain.
    daemon
        .home
        .change("left", &responding(QueryResponse::Code("internal".into())));
    let error = daemon.value("db/same").await.expect_err("uncertain");
    assert_eq!(the_failure(&error).name, "left");
    daemon.stop().await;
}

#[tokio::test]
async fn a_partial_result_describes_its_failures_in_the_header() {
    let daemon = start_with(&[
        (
            "hi",
            10,
            responding(QueryResponse::Code("failed_precondition".into())),
        ),
        (
            "wide",
            0,
            Script {
                pattern: Some("**".into()),
                ..provider_of(&[("mail/token", "certain")])
            },
        ),
    ])
    .await;
    let client = ResolverServiceClient::from(daemon.resolver.rpc());
    let pattern = Some("**".to_owned());
    let response = client.get_secrets(GetSecretsRequest { pattern }).await;
    let response = response.expect("a partial result");
    let names = response.headers().get("keyway-failed-providers");
    assert_eq!(names.expect("the header"), "hi");
    let failures = response
        .headers()
        .get_binary(FAILURES_HEADER)
        .expect("a binary header");
    assert_eq!(failures.len(), 1);
    daemon.stop().await;
}

#[tokio::test]
async fn a_described_realm_counts_and_an_invalid_description_fails_the_registration() {
    let described = |patterns: &[&str]| Script {
        pattern: Some("db/**".into()),
        description: Some(Description {
            patterns: patterns.iter().map(|text| (*text).to_owned()).collect(),
            ..Description::default()
        }),
        ..provider_of(&[(ID, "right"), ("db/other", "other")])
    };
    let (home, config) = home_with(&[
        ("narrow", 0, described(&["db/password", "db/more/**"])),
        ("wide", 0, described(&["mail/**"])),
    ]);
    let daemon = TestDaemon::with_config(home, config);
    daemon.wait_for("wide", RunStatus::RetriesExceeded).await;
    assert_eq!(daemon.value(ID).await.expect("a value"), "right");
    let error = daemon.value("db/other").await.expect_err("not found");
    assert!(matches!(error, ResolveError::NotFound { .. }), "{error:?}");
    let mut realm = daemon.status("narrow").await.realm;
    realm.sort();
    assert_eq!(realm, ["db/more/**", "db/password"]);
    daemon.stop().await;
}

#[tokio::test]
async fn the_last_failed_request_is_shown() {
    let daemon = start_pair().await;
    assert!(daemon.status("hi").await.last_failed_request.is_none());
    let locked = Failing::new(Wire::Locked).with_remedy("unlock it");
    daemon
        .home
        .change("hi", &responding(QueryResponse::Failure(locked)));
    daemon.value(ID).await.expect_err("locked");
    let status = daemon.status("hi").await;
    let failed = status.last_failed_request.expect("a failed request");
    assert_eq!(failed.kind(), Wire::Locked);
    assert_eq!((status.rank, status.failures), (Some(1), Some(1)));
    assert_eq!(daemon.status("lo").await.rank, Some(2));
    daemon.stop().await;
}

#[tokio::test]
async fn explain_names_ranks_and_outcomes_and_never_a_value() {
    // An interactive provider is not called for an id that a higher rank holds.
    let lower = Script {
        description: Some(Description {
            interactive: true,
            ..Description::default()
        }),
        ..provider("lower")
    };
    let daemon = start_with(&[("hi", 10, provider("right")), ("lo", 0, lower)]).await;
    let reply = daemon.call("explain", ID).await;
    assert!(reply.is_ok(), "{reply:?}");
    for part in ["OUTCOME_VALUE", "OUTCOME_NOT_CALLED", r#""hi""#, r#""lo""#] {
        assert!(reply.body.contains(part), "no {part} in {}", reply.body);
    }
    // In JSON, bytes are base64.
    for value in ["right", "lower", "cmlnaHQ", "bG93ZXI"] {
        assert!(!reply.body.contains(value), "a value in {}", reply.body);
    }
    daemon.stop().await;
}

#[tokio::test]
async fn not_found_names_the_plugins_that_were_not_candidates() {
    let daemon = start_pair().await;
    for name in ["hi", "lo"] {
        daemon.set_enabled(name, false).await.expect("disabled");
    }
    let error = daemon.value(ID).await.expect_err("not found");
    assert!(matches!(error, ResolveError::NotFound { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("hi is disabled") && text.contains("lo is disabled"),
        "{text}"
    );
    let client = ResolverServiceClient::from(daemon.resolver.rpc());
    let pattern = Some(ID.to_owned());
    let error = client.get_secrets(GetSecretsRequest { pattern }).await;
    let error = error.expect_err("not found");
    assert_eq!((error.code(), error.details().len()), (Code::NotFound, 0));
    daemon.stop().await;
}
