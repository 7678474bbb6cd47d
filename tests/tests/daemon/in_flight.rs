//! Calls in flight at one provider: their limit, calls that several queries share, and the life of a cached response.

use std::time::Duration;

use keyway_resolver::FailureKind;
use keyway_test_support::wait::asynchronous::eventually;
use keyway_tests::TestDaemon;
use keyway_tests::daemon::{plugin, the_failure};
use keyway_tests::script::{Description, QueryResponse};

use crate::common::{ID, home_with, n_calls, provider, responding, start_with};

#[tokio::test]
async fn a_provider_at_its_concurrency_limit_is_busy() {
    let mut slow = provider("right");
    slow.description = Some(Description {
        concurrency: Some(1),
        ..Description::default()
    });
    slow.response = QueryResponse::Hold;
    let (home, mut config) = home_with(&[("hi", 10, slow), ("lo", 0, provider("lower"))]);
    plugin(&mut config, "hi").timeout = Some(Duration::from_secs(1));
    let daemon = TestDaemon::with_config(home, config);
    daemon.wait_for_running(&["hi"]).await;
    let second = async {
        daemon.home.wait_for_events("hi", "queried", 1).await;
        daemon.value(ID).await
    };
    let (first, second) = tokio::join!(daemon.value(ID), second);
    assert_eq!(
        the_failure(&first.expect_err("late")).kind,
        FailureKind::TimedOut
    );
    let second = second.expect_err("uncertain");
    assert!(
        matches!(
            the_failure(&second).kind,
            FailureKind::Busy | FailureKind::TimedOut
        ),
        "{second:?}"
    );
    daemon.stop().await;
}

#[tokio::test]
async fn equal_requests_in_flight_share_one_call_only_if_the_provider_is_shareable() {
    for is_shareable in [true, false] {
        let mut held = responding(QueryResponse::Hold);
        held.description = Some(Description {
            shareable: is_shareable,
            ..Description::default()
        });
        let daemon = start_with(&[("hi", 0, held)]).await;
        let release = async {
            daemon
                .wait_for_status("hi", |status| status.requests() == 3)
                .await;
            let n_calls = if is_shareable { 1 } else { 3 };
            daemon
                .wait_for_status("hi", |status| status.in_flight() == n_calls)
                .await;
            daemon.home.wait_for_events("hi", "queried", 1).await;
        };
        let value = || daemon.value(ID);
        {
            let mut others = std::pin::pin!(futures::future::join(value(), value()));
            // The first caller leaves at the end of this wait.
            tokio::select! {
                biased;
                _ = value() => panic!("responded early"),
                _ = &mut others => panic!("responded early"),
                () = release => {}
            }
            daemon.home.change("hi", &provider("right"));
            let (first, second) = others.await;
            assert_eq!(first.expect("a value"), "right");
            assert_eq!(second.expect("a value"), "right");
        }
        daemon
            .wait_for_status("hi", |status| status.in_flight() == 0)
            .await;
        let n_queries = n_calls(&daemon, "hi");
        assert_eq!(n_queries == 1, is_shareable, "{n_queries} calls");
        daemon.stop().await;
    }
}

/// The provider fails meanwhile, which does not extend the life of the cached response.
#[tokio::test]
async fn a_cached_response_is_the_value_until_it_expires_and_then_uncertain() {
    let (home, mut config) =
        home_with(&[("hi", 10, provider("right")), ("lo", 0, provider("lower"))]);
    plugin(&mut config, "hi").cache_ttl = Some(Duration::from_secs(1));
    let daemon = TestDaemon::with_config(home, config);
    assert_eq!(daemon.value(ID).await.expect("a value"), "right");
    daemon
        .home
        .change("hi", &responding(QueryResponse::Code("internal".into())));
    let error = eventually("the end of the cached response", async || {
        match daemon.value(ID).await {
            Err(error) => Ok(error),
            Ok(value) => {
                assert_eq!(value, "right");
                Err(value)
            }
        }
    })
    .await;
    assert_eq!(the_failure(&error).name, "hi");
    daemon.stop().await;
}
