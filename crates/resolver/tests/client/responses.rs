//! The results of the client for scripted responses. The daemon is a router in this process: no socket, no hyper.

use std::time::Duration;

use keyway_resolver::{
    Envelope, FailureKind, GetOneError, Pattern, ResolveError, Resolver, UnlistedReason,
};
use keyway_rpc::Router;

fn resolver() -> Resolver<Router> {
    Resolver::new(crate::script::router())
}

async fn error(pattern: &str) -> ResolveError {
    resolver().get(&pattern.parse().unwrap()).await.unwrap_err()
}

#[tokio::test]
async fn secrets_have_id_value_and_provider() {
    let secrets = resolver().get(&"demo/*".parse().unwrap()).await.unwrap();
    let found: Vec<_> = secrets
        .envelopes
        .iter()
        .map(|e| (e.id.as_str(), e.value.expose(), e.provider.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            ("demo/a", b"dummy-a".as_slice(), "demo"),
            ("demo/b", b"dummy-b".as_slice(), "demo")
        ]
    );
    assert!(secrets.is_complete());
}

#[tokio::test]
async fn a_partial_result_names_the_failed_providers() {
    let secrets = resolver()
        .get(&"demo/partial".parse().unwrap())
        .await
        .unwrap();
    assert_eq!(secrets.envelopes.len(), 1);
    assert_eq!(secrets.failed_providers(), ["slow", "broken"]);
    assert!(!secrets.is_complete());
}

#[tokio::test]
async fn secrets_that_were_not_requested_are_rejected() {
    let secrets = resolver()
        .get(&"demo/foreign".parse().unwrap())
        .await
        .unwrap();
    assert!(secrets.envelopes.is_empty());
    let rejected: Vec<_> = secrets.rejected.iter().map(ToString::to_string).collect();
    assert_eq!(
        rejected,
        [
            "other/id was sent but not requested",
            "an envelope has the invalid id \"not an id\""
        ]
    );
}

#[tokio::test]
async fn each_failure_has_its_kind() {
    assert!(matches!(
        error("demo/none").await,
        ResolveError::NotFound { .. }
    ));
    assert!(matches!(
        error("demo/denied").await,
        ResolveError::Denied { .. }
    ));
    assert!(matches!(
        error("demo/internal").await,
        ResolveError::Other(_)
    ));
    match error("demo/broken").await {
        ResolveError::Uncertain { failures, .. } => {
            assert_eq!(failures.len(), 1);
            assert_eq!(
                (failures[0].name.as_str(), failures[0].kind),
                ("broken", FailureKind::Unknown)
            );
        }
        other => panic!("{other:?}"),
    }
    match error("demo/conflict").await {
        ResolveError::Conflict { failures, .. } => {
            assert_eq!(failures[0].kind, FailureKind::Conflict);
        }
        other => panic!("{other:?}"),
    }
    assert!(
        matches!(error("demo/state").await, ResolveError::Other(_)),
        "a failed precondition without providers is not a conflict"
    );
}

#[tokio::test]
async fn a_failed_provider_is_described() {
    let error = error("demo/locked").await;
    let [failure] = error.failures() else {
        panic!("{error:?}")
    };
    assert_eq!(failure.name, "vault");
    assert_eq!(failure.kind, FailureKind::Locked);
    assert_eq!(failure.message, "vault is locked");
    assert_eq!(failure.remedy, "unlock it with `vault unlock`");
    assert_eq!(failure.retry_after, None);
    assert!(error.is_transient());

    let pattern = "demo/described".parse().unwrap();
    let secrets = resolver().get(&pattern).await.unwrap();
    assert_eq!(secrets.failures[0].kind, FailureKind::Quota);
    assert_eq!(secrets.failures[0].remedy, "unlock it with `vault unlock`");
}

#[tokio::test]
async fn a_value_beside_a_failed_provider_or_a_foreign_envelope_is_not_returned() {
    for id in ["demo/partial", "demo/described"] {
        let error = resolver().get_one(&id.parse().unwrap()).await.unwrap_err();
        assert!(
            matches!(
                error,
                GetOneError::Resolve(ResolveError::Uncertain { ref failures, .. }) if !failures.is_empty()
            ),
            "{id}: {error:?}"
        );
    }
    let error = resolver()
        .get_one(&"demo/foreign".parse().unwrap())
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            GetOneError::Resolve(ResolveError::InvalidResponse { .. })
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn prompts_are_forbidden_on_request() {
    let id = "demo/prompt".parse().unwrap();
    let value = |envelope: Envelope| envelope.value.expose().to_vec();
    let allowed = resolver().get_one(&id).await.unwrap();
    assert_eq!(value(allowed), b"absent");
    let forbidden = resolver().with_may_ask_user(false).get_one(&id).await;
    assert_eq!(value(forbidden.unwrap()), b"0");
}

#[tokio::test]
async fn the_texts_of_each_error() {
    let mut texts = String::new();
    for pattern in [
        "demo/none",
        "demo/denied",
        "demo/internal",
        "demo/broken",
        "demo/locked",
        "demo/conflict",
    ] {
        texts += &format!("{pattern}: {}\n", error(pattern).await);
    }
    for id in ["demo/twice", "demo/foreign", "demo/partial"] {
        texts += &format!(
            "{id}: {}\n",
            resolver().get_one(&id.parse().unwrap()).await.unwrap_err()
        );
    }
    insta::assert_snapshot!(texts, @r"
    demo/none: no secret was found: no provider has demo/none
    demo/denied: access was denied: `guard` does not allow it
    demo/internal: internal: it broke
    demo/broken: `broken` failed and no other provider has demo/broken
    demo/locked: vault is locked
    demo/conflict: vault and env disagree
    demo/twice: demo/twice is provided by first and by second
    demo/foreign: the response of the daemon is invalid: beside demo/foreign, other/id was sent but not requested
    demo/partial: demo/partial is uncertain, because these providers failed: slow, broken
    ");
}

#[tokio::test(start_paused = true)]
async fn a_query_without_a_response_times_out() {
    let resolver = resolver().with_timeout(Duration::from_secs(3));
    let started = tokio::time::Instant::now();
    let error = resolver
        .get(&"demo/never".parse().unwrap())
        .await
        .unwrap_err();
    assert!(matches!(error, ResolveError::TimedOut { .. }), "{error:?}");
    assert_eq!(started.elapsed().as_secs(), 3);
}

#[tokio::test]
async fn get_one_returns_one_secret_and_reports_several() {
    let envelope = resolver()
        .get_one(&"demo/hit".parse().unwrap())
        .await
        .unwrap();
    assert_eq!(envelope.value.expose(), b"dummy");
    match resolver().get_one(&"demo/twice".parse().unwrap()).await {
        Err(GetOneError::Ambiguous { providers, .. }) => assert_eq!(providers, ["first", "second"]),
        other => panic!("{other:?}"),
    }
    let missing = resolver().get_one(&"demo/none".parse().unwrap()).await;
    assert!(matches!(
        missing,
        Err(GetOneError::Resolve(ResolveError::NotFound { .. }))
    ));
}

#[tokio::test]
async fn authorization_covers_all_patterns_together() {
    let patterns = |texts: &[&str]| {
        texts
            .iter()
            .map(|text| text.parse().unwrap())
            .collect::<Vec<Pattern>>()
    };
    let allowed = resolver()
        .authorize(&patterns(&["demo/a", "demo/**"]))
        .await
        .unwrap();
    assert!(allowed.allowed && allowed.expires_at.is_none());
    assert!(
        !resolver()
            .authorize(&patterns(&["demo/a", "other/a"]))
            .await
            .unwrap()
            .allowed
    );
}

#[tokio::test]
async fn the_catalog_has_entries_and_unlisted_providers() {
    let catalog = resolver().list(&Pattern::everything()).await.unwrap();
    assert_eq!(
        catalog
            .entries
            .iter()
            .map(|entry| entry.id.as_str())
            .collect::<Vec<_>>(),
        ["demo/hit"]
    );
    assert_eq!(catalog.rejected.len(), 1);
    let [unlisted] = &catalog.unlisted[..] else {
        panic!("{:?}", catalog.unlisted)
    };
    assert_eq!(
        (unlisted.provider.as_str(), unlisted.reason),
        ("env", UnlistedReason::CannotList)
    );
    assert_eq!(unlisted.realm, Some("env/**".parse().unwrap()));
}

#[tokio::test]
async fn a_daemon_without_a_catalog_is_unsupported() {
    let without = Resolver::new(Router::new());
    let error = without.list(&Pattern::everything()).await.unwrap_err();
    assert!(
        matches!(error, ResolveError::Unsupported { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn version_returns_the_version_of_the_daemon() {
    assert_eq!(resolver().version().await.unwrap(), "v1.2.3");
}

#[tokio::test]
async fn a_response_over_the_limit_is_refused() {
    let resolver = resolver().with_max_response_len(64 * 1024);
    let error = resolver
        .get(&"demo/large".parse().unwrap())
        .await
        .unwrap_err();
    assert!(matches!(error, ResolveError::Other(_)), "{error:?}");
}
