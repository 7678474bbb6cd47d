//! What the client makes of a daemon's answers. The daemon is a router in this process: no socket, no hyper.

mod support;

use std::time::Duration;

use keyway_resolver::{GetOneError, Pattern, ResolveError, Resolver, UnlistedReason};
use keyway_rpc::Router;

fn resolver() -> Resolver<Router> {
    Resolver::new(support::router())
}

async fn fault(pattern: &str) -> ResolveError {
    resolver().get(&pattern.parse().unwrap()).await.unwrap_err()
}

#[tokio::test]
async fn secrets_come_with_their_facts() {
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
async fn a_partial_answer_names_who_failed() {
    let secrets = resolver()
        .get(&"demo/partial".parse().unwrap())
        .await
        .unwrap();
    assert_eq!(secrets.envelopes.len(), 1);
    assert_eq!(secrets.failed_providers, ["slow", "broken"]);
    assert!(!secrets.is_complete());
}

#[tokio::test]
async fn what_was_not_asked_for_is_set_apart() {
    let secrets = resolver()
        .get(&"demo/foreign".parse().unwrap())
        .await
        .unwrap();
    assert!(secrets.envelopes.is_empty());
    let rejected: Vec<_> = secrets.rejected.iter().map(ToString::to_string).collect();
    assert_eq!(
        rejected,
        [
            "other/id was sent but not asked for",
            "an envelope has the invalid id \"not an id\""
        ]
    );
}

#[tokio::test]
async fn each_failure_has_its_kind() {
    assert!(matches!(
        fault("demo/none").await,
        ResolveError::NotFound { .. }
    ));
    assert!(matches!(
        fault("demo/denied").await,
        ResolveError::Denied { .. }
    ));
    assert!(matches!(
        fault("demo/internal").await,
        ResolveError::Other(_)
    ));
    match fault("demo/broken").await {
        ResolveError::Unavailable {
            failed_providers, ..
        } => assert_eq!(failed_providers, ["broken"]),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_words_of_each_failure() {
    let mut words = String::new();
    for pattern in ["demo/none", "demo/denied", "demo/internal", "demo/broken"] {
        words += &format!("{pattern}: {}\n", fault(pattern).await);
    }
    for id in ["demo/twice", "demo/foreign"] {
        words += &format!(
            "{id}: {}\n",
            resolver().get_one(&id.parse().unwrap()).await.unwrap_err()
        );
    }
    insta::assert_snapshot!(words, @r"
    demo/none: no secret was found: no provider has demo/none
    demo/denied: access was denied: `guard` does not allow it
    demo/internal: internal: it broke
    demo/broken: `broken` failed and nobody else has demo/broken
    demo/twice: demo/twice is provided by first and by second
    demo/foreign: no secret was found: there is no secret demo/foreign; the answer held something else: other/id was sent but not asked for
    ");
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_never_answers_is_not_waited_for_longer_than_agreed() {
    let resolver = resolver().with_timeout(Duration::from_secs(3));
    let started = tokio::time::Instant::now();
    let fault = resolver
        .get(&"demo/never".parse().unwrap())
        .await
        .unwrap_err();
    assert!(matches!(fault, ResolveError::TimedOut { .. }), "{fault:?}");
    assert_eq!(started.elapsed().as_secs(), 3);
}

#[tokio::test]
async fn one_secret_by_its_id() {
    let envelope = resolver()
        .get_one(&"demo/hit".parse().unwrap())
        .await
        .unwrap();
    assert_eq!(envelope.value.expose(), b"dummy");
    match resolver().get_one(&"demo/twice".parse().unwrap()).await {
        Err(GetOneError::Ambiguous { providers, .. }) => assert_eq!(providers, ["first", "second"]),
        other => panic!("{other:?}"),
    }
    let missing = resolver().get_one(&"demo/foreign".parse().unwrap()).await;
    assert!(matches!(
        missing,
        Err(GetOneError::Resolve(ResolveError::NotFound { .. }))
    ));
}

#[tokio::test]
async fn authorization_is_for_all_patterns_together() {
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
async fn the_catalog_has_entries_and_says_who_is_missing() {
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
async fn a_daemon_of_another_make_has_no_catalog() {
    let without = Resolver::new(Router::new());
    let fault = without.list(&Pattern::everything()).await.unwrap_err();
    assert!(
        matches!(fault, ResolveError::Unsupported { .. }),
        "{fault:?}"
    );
}

#[tokio::test]
async fn the_version_is_that_of_the_daemon() {
    assert_eq!(resolver().version().await.unwrap(), "v1.2.3");
}

#[tokio::test]
async fn an_answer_over_the_limit_is_refused() {
    let resolver = resolver().with_max_answer(64 * 1024);
    let fault = resolver
        .get(&"demo/large".parse().unwrap())
        .await
        .unwrap_err();
    assert!(matches!(fault, ResolveError::Other(_)), "{fault:?}");
}
