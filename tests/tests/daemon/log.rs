//! The log lines of failed calls.

use std::time::Duration;

use keyway_proto::resolver::v1::{GetSecretsRequest, ResolverServiceClient};
use keyway_rpc::{Code, Request};
use keyway_test_support::log::Log;
use keyway_tests::daemon::{Home, behave, plugin};
use keyway_tests::{Behaviour, TestDaemon};

use crate::common::PLUGIN;

#[tokio::test]
async fn only_a_provider_timeout_is_a_warning_and_not_a_caller_that_leaves() {
    let log = Log::capture();
    let home = Home::new(PLUGIN);
    let mut config = home.config();
    home.add("slow");
    behave(&mut config, "slow", Behaviour::Slow);
    plugin(&mut config, "slow").timeout = Some(Duration::from_secs(2));
    let daemon = TestDaemon::with_config(home.into(), config);
    daemon.wait_for_running(&["slow"]).await;
    let request = || {
        let pattern = Some("slow/slow".to_owned());
        Request::new(GetSecretsRequest { pattern })
    };
    let client = ResolverServiceClient::from(daemon.resolver.rpc());

    let short_deadline = request().timeout(Duration::from_millis(100));
    client
        .get_secrets(short_deadline)
        .await
        .expect_err("timed out");
    let cancelled = tokio::time::timeout(Duration::from_millis(100), client.get_secrets(request()));
    cancelled.await.expect_err("cancelled");

    let result = client.get_secrets(request()).await;
    assert_eq!(result.expect_err("nothing").code(), Code::Unavailable);
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
