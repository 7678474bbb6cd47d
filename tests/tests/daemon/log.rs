//! The log lines of failed calls.

use std::time::Duration;

use keyway_proto::resolver::v1::{GetSecretsRequest, ResolverServiceClient};
use keyway_rpc::{Code, Request};
use keyway_test_support::log::Log;
use keyway_tests::daemon::{Home, behave, plugin};
use keyway_tests::{Behaviour, TestDaemon};

use crate::common::PLUGIN;

#[tokio::test]
async fn a_caller_that_gives_up_leaves_no_warning_and_a_slow_provider_leaves_one() {
    let log = Log::capture();
    let home = Home::new(PLUGIN);
    let mut config = home.config();
    home.add("slow");
    behave(&mut config, "slow", Behaviour::Slow);
    plugin(&mut config, "slow").timeout = Some(Duration::from_secs(2));
    let daemon = TestDaemon::with_config(home.into(), config);
    daemon.wait_for_running(&["slow"]).await;
    let ask = || {
        let pattern = Some("slow/slow".to_owned());
        Request::new(GetSecretsRequest { pattern })
    };
    let client = ResolverServiceClient::from(daemon.resolver.rpc());

    let hasty = ask().timeout(Duration::from_millis(100));
    client.get_secrets(hasty).await.expect_err("timed out");
    let leaving = tokio::time::timeout(Duration::from_millis(100), client.get_secrets(ask()));
    leaving.await.expect_err("given up");

    let patient = client.get_secrets(ask()).await;
    assert_eq!(patient.expect_err("nothing").code(), Code::Unavailable);
    // The daemon has seen the end of the others by now.
    let warnings = log.with("WARN");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let caller_pid = format!("caller_pid={}", std::process::id());
    for part in [
        "request failed",
        "plugin=slow",
        "code=deadline_exceeded",
        "request_id=",
        &caller_pid,
    ] {
        assert!(warnings[0].contains(part), "no {part} in {}", warnings[0]);
    }
    daemon.stop().await;
}
