//! The protocol between a provider and its daemon beside secrets: description, deadline, prompts, incomplete responses, kinds
//! of failure.

use std::future::pending;
use std::time::Duration;

use keyway_plugin_sdk::testing::TestDaemon;
use keyway_plugin_sdk::{
    Description, Envelope, ErrorKind, Listed, Pattern, ProviderError, Query, RegisterError,
    SecretsProvider,
};
use tokio::time::Instant;

const VALUE: &str = "not-a-real-token";

/// A vault in which one secret needs a touch of a key, and one is always locked.
struct Vault;

impl SecretsProvider for Vault {
    fn pattern(&self) -> Pattern {
        "vault/**".parse().unwrap()
    }

    fn patterns(&self) -> Vec<Pattern> {
        vec![
            "vault/team/**".parse().unwrap(),
            "vault/mine/*".parse().unwrap(),
        ]
    }

    fn version(&self) -> &str {
        "v1.2.3"
    }

    fn describe(&self) -> Description {
        Description::new()
            .concurrency(8)
            .shareable(true)
            .interactive(true)
            .lists(true)
            .description("The vault of the team")
            .homepage("https://example.org/vault")
    }

    async fn get_secrets(&self, query: &Query) -> Result<Vec<Envelope>, ProviderError> {
        let secret = |id: &str| Envelope::new(id.parse().unwrap(), VALUE);
        match query.pattern().as_str() {
            "vault/mine/touch" if query.may_ask_user() => Ok(vec![secret("vault/mine/touch")]),
            "vault/mine/touch" => Err(ProviderError::needs_user("the key must be touched")),
            "vault/mine/name" => {
                let name = query.request_id().unwrap_or("none").to_owned();
                Ok(vec![Envelope::new(query.require_id()?, name)])
            }
            "vault/mine/no" => Err(ProviderError::invalid("names have at most eight letters")),
            "vault/mine/hang" => pending().await,
            "vault/team/locked" => {
                query.incomplete(locked());
                Ok(vec![])
            }
            "vault/team/one/*" => {
                query.require_id()?;
                Ok(vec![])
            }
            _ => {
                query.incomplete(locked());
                Ok(vec![secret("vault/team/a"), secret("vault/other/a")])
            }
        }
    }

    async fn list_secrets(&self, query: &Query) -> Result<Vec<Listed>, ProviderError> {
        assert!(!query.may_ask_user(), "a listing never prompts");
        query.incomplete(locked());
        Ok(vec![Listed::new("vault/team/a".parse()?)])
    }
}

fn locked() -> ProviderError {
    ProviderError::locked("one of the keys is locked")
        .with_remedy("unlock it with `vault unlock`")
        .with_retry_after(Duration::from_secs(3))
}

async fn vault() -> TestDaemon {
    TestDaemon::start(Vault).await.unwrap()
}

#[tokio::test]
async fn a_provider_describes_itself_when_it_registers() {
    let daemon = vault().await;
    let registration = daemon.registration();
    assert_eq!(registration.pattern.as_deref(), Some("vault/**"));
    let realm: Vec<_> = registration.realm.iter().map(Pattern::as_str).collect();
    assert_eq!(realm, ["vault/team/**", "vault/mine/*"]);
    assert_eq!(registration.description, Some(Vault.describe()));
    daemon.stop().await;
}

#[tokio::test]
async fn a_secret_within_the_registered_pattern_but_outside_of_the_realm_is_dropped() {
    let daemon = vault().await;
    let found = daemon.get("vault/**").await.unwrap();
    let ids: Vec<_> = found.iter().map(|envelope| envelope.id.as_str()).collect();
    assert_eq!(ids, ["vault/team/a"]);
    daemon.stop().await;
}

#[tokio::test]
async fn an_incomplete_response_carries_its_failure() {
    let daemon = vault().await;
    let response = daemon.call("vault/team/*").get().await.unwrap();
    assert_eq!(response.found.len(), 1);
    let failure = response.incomplete.expect("the response is incomplete");
    assert_eq!(failure.kind(), ErrorKind::Locked);
    assert_eq!(failure.remedy(), Some("unlock it with `vault unlock`"));
    assert_eq!(failure.retry_after(), Some(Duration::from_secs(3)));

    let listing = daemon.call("vault/team/*").list().await.unwrap();
    assert_eq!(listing.found.len(), 1);
    assert_eq!(listing.incomplete.unwrap().kind(), ErrorKind::Locked);

    let empty = daemon.get("vault/team/locked").await.unwrap_err();
    assert_eq!(
        (empty.kind(), empty.message()),
        (ErrorKind::Locked, "one of the keys is locked"),
        "a partial read without a match is not `not found`"
    );
    daemon.stop().await;
}

#[tokio::test]
async fn a_provider_receives_whether_prompts_are_allowed() {
    let daemon = vault().await;
    let call = || daemon.call("vault/mine/touch");
    assert_eq!(call().get().await.unwrap().found.len(), 1);
    let forbidden = call().may_ask_user(false).get().await.unwrap_err();
    assert_eq!(forbidden.kind(), ErrorKind::NeedsUser);
    daemon.stop().await;
}

#[tokio::test]
async fn a_provider_receives_the_request_id() {
    let daemon = vault().await;
    let found = daemon.get("vault/mine/name").await.unwrap();
    assert_eq!(found[0].value.expose(), b"00000000000000aa");
    daemon.stop().await;
}

#[tokio::test]
async fn kinds_that_depend_on_the_query_are_returned() {
    let daemon = vault().await;
    let invalid = daemon.get("vault/mine/no").await.unwrap_err();
    assert_eq!(invalid.kind(), ErrorKind::Invalid);
    let pattern = daemon.get("vault/team/one/*").await.unwrap_err();
    assert_eq!(pattern.kind(), ErrorKind::CannotList);
    daemon.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_a_call_takes_precedence_over_the_registered_timeout() {
    let builder = TestDaemon::builder().request_timeout(Duration::from_secs(3));
    let daemon = builder.start(Vault).await.unwrap();
    for seconds in [2, 30] {
        let started = Instant::now();
        let call = daemon
            .call("vault/mine/hang")
            .within(Duration::from_secs(seconds));
        let error = call.get().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(started.elapsed().as_secs(), seconds);
    }
    daemon.stop().await;
}

/// A provider with an invalid registration.
struct Invalid {
    version: &'static str,
    patterns: &'static [&'static str],
    description: Description,
}

impl SecretsProvider for Invalid {
    fn pattern(&self) -> Pattern {
        Pattern::everything()
    }

    fn patterns(&self) -> Vec<Pattern> {
        self.patterns
            .iter()
            .map(|text| text.parse().unwrap())
            .collect()
    }

    fn version(&self) -> &str {
        self.version
    }

    fn describe(&self) -> Description {
        self.description.clone()
    }

    async fn get_secrets(&self, _: &Query) -> Result<Vec<Envelope>, ProviderError> {
        Ok(vec![])
    }
}

#[tokio::test]
async fn an_invalid_registration_is_not_sent() {
    let valid = || Invalid {
        version: "v1.2.3",
        patterns: &["a/*"],
        description: Description::new(),
    };
    let cases = [
        (
            Invalid {
                version: "1.2.3",
                ..valid()
            },
            "the plugin cannot register: the version \"1.2.3\" is not a Go semantic version like v1.2.3",
        ),
        (
            Invalid {
                patterns: &["a/*"; 65],
                ..valid()
            },
            "the plugin cannot register: the description has 65 patterns; at most 64 are allowed",
        ),
        (
            Invalid {
                description: Description::new().concurrency(0),
                ..valid()
            },
            "the plugin cannot register: the description gives a concurrency of 0; it must be 1 to 1024",
        ),
        (
            Invalid {
                description: Description::new().description("x".repeat(257)),
                ..valid()
            },
            "the plugin cannot register: the field `description` of the description has 257 bytes; at most 256 are allowed",
        ),
    ];
    for (provider, expected) in cases {
        let error = TestDaemon::start(provider).await.unwrap_err();
        assert!(matches!(error, RegisterError::Invalid(_)), "{error:?}");
        assert_eq!(keyway_local::with_causes(&error), expected);
    }
    let daemon = TestDaemon::start(valid()).await.unwrap();
    assert_eq!(daemon.registration().pattern.as_deref(), Some("a/*"));
    daemon.stop().await;
}

#[tokio::test]
async fn an_empty_list_of_patterns_falls_back_to_pattern() {
    let provider = Invalid {
        version: "v1",
        patterns: &[],
        description: Description::new(),
    };
    let daemon = TestDaemon::start(provider).await.unwrap();
    assert_eq!(daemon.registration().pattern.as_deref(), Some("**"));
    assert_eq!(daemon.registration().realm, [Pattern::everything()]);
    daemon.stop().await;
}
