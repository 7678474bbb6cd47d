//! Interactive providers: their order, permission to prompt, and timeout.

use std::time::Duration;

use keyway_proto::MAY_ASK_USER_HEADER;
use keyway_proto::resolver::v1::{GetSecretsRequest, ResolverServiceClient};
use keyway_resolver::FailureKind;
use keyway_rpc::Request;
use keyway_tests::TestDaemon;
use keyway_tests::daemon::{plugin, the_failure};
use keyway_tests::script::{Description, QueryResponse, Script};

use crate::common::{ID, home_with, provider, provider_of, responding, start_with};

#[tokio::test]
async fn an_interactive_provider_is_called_after_every_higher_rank_returned_nothing() {
    let interactive = Script {
        description: Some(Description {
            interactive: true,
            ..Description::default()
        }),
        ..provider("prompted")
    };
    let daemon = start_with(&[("prompting", 0, interactive), ("hi", 10, provider("right"))]).await;
    assert_eq!(daemon.value(ID).await.expect("a value"), "right");
    let queries = || {
        let events = daemon.home.events("prompting").into_iter();
        events
            .filter(|event| event.starts_with("queried"))
            .collect::<Vec<_>>()
    };
    assert_eq!(queries(), [""; 0], "a higher rank holds the value");
    daemon.home.change("hi", &provider_of(&[]));
    assert_eq!(daemon.value(ID).await.expect("a value"), "prompted");
    assert_eq!(queries(), [format!("queried {ID} may_prompt=true")]);
    // For a pattern it is called with the others, and must not prompt.
    daemon.get("db/*").await.expect("a value");
    assert_eq!(queries()[1], "queried db/* may_prompt=false");
    let client = ResolverServiceClient::from(daemon.resolver.rpc());
    let pattern = Some(ID.to_owned());
    let mut request = Request::new(GetSecretsRequest { pattern });
    request
        .metadata_mut()
        .insert(MAY_ASK_USER_HEADER, http::HeaderValue::from_static("0"));
    client.get_secrets(request).await.expect("a value");
    assert_eq!(queries()[2], format!("queried {ID} may_prompt=false"));
    daemon.stop().await;
}

/// Such a provider ignores the header that forbids prompts.
#[tokio::test]
async fn a_provider_that_is_interactive_by_configuration_alone_is_not_called_without_prompts() {
    let (home, mut config) = home_with(&[("prompting", 0, provider("prompted"))]);
    plugin(&mut config, "prompting").interactive = Some(true);
    let daemon = TestDaemon::with_config(home, config);
    assert_eq!(daemon.value(ID).await.expect("a value"), "prompted");
    let error = daemon.get("db/*").await.expect_err("uncertain");
    assert_eq!(the_failure(&error).kind, FailureKind::NeedsUser);
    daemon.stop().await;
}

/// A call that may prompt the user has a longer timeout than other calls, unless prompts are forbidden.
#[tokio::test]
async fn an_interactive_provider_has_the_user_timeout_for_one_id_alone() {
    let mut prompting = responding(QueryResponse::Hold);
    prompting.description = Some(Description {
        interactive: true,
        ..Description::default()
    });
    let (home, mut config) = home_with(&[("prompting", 0, prompting)]);
    plugin(&mut config, "prompting").timeout = Some(Duration::from_millis(200));
    plugin(&mut config, "prompting").user_timeout = Some(Duration::from_secs(600));
    let daemon = TestDaemon::with_config(home, config);
    let error = daemon.get("db/*").await.expect_err("too late");
    let failure = the_failure(&error);
    assert_eq!(failure.kind, FailureKind::TimedOut);
    assert!(failure.message.contains("200 ms"), "{failure:?}");
    let respond = async {
        // The pattern was the first request; another one runs into `timeout` meanwhile.
        daemon.home.wait_for_events("prompting", "queried", 2).await;
        daemon.get("db/*").await.expect_err("too late");
        daemon.home.change("prompting", &provider("prompted"));
    };
    let (value, ()) = tokio::join!(daemon.value(ID), respond);
    assert_eq!(value.expect("in time"), "prompted");
    daemon.stop().await;
}
