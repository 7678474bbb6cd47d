//! Interactive providers: when they are called, whether they may prompt, and how long they have.

use std::time::Duration;

use keyway_proto::MAY_ASK_USER_HEADER;
use keyway_proto::resolver::v1::{GetSecretsRequest, ResolverServiceClient};
use keyway_resolver::FailureKind;
use keyway_rpc::Request;
use keyway_tests::TestDaemon;
use keyway_tests::daemon::{plugin, the_failure};
use keyway_tests::script::{Answer, Description, Script};

use crate::common::{ID, answering, home_with, provider, provider_of, start_with};

#[tokio::test]
async fn an_interactive_provider_is_called_after_every_higher_rank_has_nothing() {
    let interactive = Script {
        description: Some(Description {
            interactive: true,
            ..Description::default()
        }),
        ..provider("prompted")
    };
    let daemon = start_with(&[("asks", 0, interactive), ("hi", 10, provider("right"))]).await;
    assert_eq!(daemon.value(ID).await.expect("a value"), "right");
    let asked = || {
        let events = daemon.home.events("asks").into_iter();
        events
            .filter(|event| event.starts_with("asked"))
            .collect::<Vec<_>>()
    };
    assert_eq!(asked(), [""; 0], "a higher rank holds the value");
    daemon.home.change("hi", &provider_of(&[]));
    assert_eq!(daemon.value(ID).await.expect("a value"), "prompted");
    assert_eq!(asked(), [format!("asked {ID} may_ask=true")]);
    // For a pattern it is called with the others, and must not prompt.
    daemon.get("db/*").await.expect("a value");
    assert_eq!(asked()[1], "asked db/* may_ask=false");
    let client = ResolverServiceClient::from(daemon.resolver.rpc());
    let pattern = Some(ID.to_owned());
    let mut request = Request::new(GetSecretsRequest { pattern });
    request
        .metadata_mut()
        .insert(MAY_ASK_USER_HEADER, http::HeaderValue::from_static("0"));
    client.get_secrets(request).await.expect("a value");
    assert_eq!(asked()[2], format!("asked {ID} may_ask=false"));
    daemon.stop().await;
}

/// It would not see the header that forbids prompts.
#[tokio::test]
async fn a_provider_that_is_interactive_by_configuration_alone_is_not_called_without_prompts() {
    let (home, mut config) = home_with(&[("asks", 0, provider("prompted"))]);
    plugin(&mut config, "asks").interactive = Some(true);
    let daemon = TestDaemon::with_config(home, config);
    assert_eq!(daemon.value(ID).await.expect("a value"), "prompted");
    let error = daemon.get("db/*").await.expect_err("uncertain");
    assert_eq!(the_failure(&error).kind, FailureKind::NeedsUser);
    daemon.stop().await;
}

/// Answering may need the user, so it may take longer than other requests, unless prompts are forbidden.
#[tokio::test]
async fn an_interactive_provider_has_the_time_of_the_user_for_one_id_alone() {
    let mut asks = answering(Answer::Hold);
    asks.description = Some(Description {
        interactive: true,
        ..Description::default()
    });
    let (home, mut config) = home_with(&[("asks", 0, asks)]);
    plugin(&mut config, "asks").timeout = Some(Duration::from_millis(200));
    plugin(&mut config, "asks").user_timeout = Some(Duration::from_secs(600));
    let daemon = TestDaemon::with_config(home, config);
    let error = daemon.get("db/*").await.expect_err("too late");
    let failure = the_failure(&error);
    assert_eq!(failure.kind, FailureKind::TimedOut);
    assert!(failure.message.contains("200 ms"), "{failure:?}");
    let answer = async {
        // The pattern was the first request; another one that takes `timeout` passes meanwhile.
        daemon.home.wait_for_events("asks", "asked", 2).await;
        daemon.get("db/*").await.expect_err("too late");
        daemon.home.change("asks", &provider("prompted"));
    };
    let (value, ()) = tokio::join!(daemon.value(ID), answer);
    assert_eq!(value.expect("in time"), "prompted");
    daemon.stop().await;
}
