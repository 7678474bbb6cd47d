//! The results of queries, with real plugin processes.

use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::time::Duration;

use keyway_resolver::{DaemonSocket, FailureKind, ResolveError, Resolver};
use keyway_runtime::{AuditConfig, AuditFailure, Config};
use keyway_tests::daemon::{Home, behave, plugin, the_failure};
use keyway_tests::{Behaviour, TestDaemon};

use crate::common::{PLUGIN, start_behaving};

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(id, provider)| ((*id).into(), (*provider).into()))
        .collect()
}

/// Adds plugins of these behaviours.
fn add(home: &Home, config: &mut Config, behaviours: &[(&str, Behaviour)]) {
    for (name, behaviour) in behaviours {
        home.add(name);
        behave(config, name, *behaviour);
    }
}

#[tokio::test]
async fn envelopes_come_in_the_order_of_ids_from_the_providers_of_the_query() {
    let daemon = start_behaving(&[
        ("b", Behaviour::Good),
        ("a", Behaviour::Good),
        ("c", Behaviour::Good),
    ])
    .await;
    let expected = pairs(&[
        ("a/a", "a"),
        ("a/b", "a"),
        ("b/a", "b"),
        ("b/b", "b"),
        ("c/a", "c"),
        ("c/b", "c"),
    ]);
    assert_eq!(daemon.ids("**").await, expected);
    assert_eq!(
        daemon.ids("*/b").await,
        pairs(&[("a/b", "a"), ("b/b", "b"), ("c/b", "c")])
    );
    assert_eq!(
        daemon.ids("b/*").await,
        pairs(&[("b/a", "b"), ("b/b", "b")])
    );
    daemon.stop().await;
}

#[tokio::test]
async fn a_provider_that_violates_its_realm_fails_for_every_id_that_it_did_not_return() {
    let daemon = TestDaemon::start(PLUGIN, &[("thief", Behaviour::OutsideRealm)]);
    assert_eq!(
        daemon.ids("thief/key").await,
        pairs(&[("thief/key", "thief")])
    );
    assert!(matches!(
        daemon.get("stolen/id").await,
        Err(ResolveError::NotFound { .. })
    ));
    let error = daemon.get("thief/absent").await.expect_err("uncertain");
    assert_eq!(the_failure(&error).kind, FailureKind::Internal, "{error}");
    daemon.stop().await;
}

#[tokio::test]
async fn configuration_cuts_a_realm() {
    let home = Home::new(PLUGIN);
    let mut config = home.config();
    home.add("wide");
    behave(&mut config, "wide", Behaviour::OwnEverything);
    plugin(&mut config, "wide").realm = Some(vec!["team/**".parse().expect("a pattern")]);
    let daemon = TestDaemon::with_config(home.into(), config);
    assert_eq!(daemon.ids("team/key").await, pairs(&[("team/key", "wide")]));
    assert!(matches!(
        daemon.get("other/key").await,
        Err(ResolveError::NotFound { .. })
    ));
    daemon.stop().await;
}

#[tokio::test]
async fn a_partial_result_names_the_failed_provider_and_an_uncertain_id_has_no_value() {
    let daemon = start_behaving(&[("broken", Behaviour::Fail), ("good", Behaviour::Good)]).await;
    let secrets = daemon.get("**").await.expect("a partial result");
    assert_eq!(secrets.envelopes.len(), 2);
    assert_eq!(secrets.failed_providers(), ["broken"]);
    let error = daemon.get("broken/key").await.expect_err("uncertain");
    let failure = the_failure(&error);
    assert_eq!(
        (failure.name.as_str(), failure.kind),
        ("broken", FailureKind::Internal)
    );
    assert_eq!(failure.message, "backend exploded");
    daemon.stop().await;
}

/// An impossible time and a repeated id of one provider fail neither the whole result nor a client that reads JSON.
#[tokio::test]
async fn impossible_times_are_normalized_for_every_client() {
    let daemon =
        start_behaving(&[("careless", Behaviour::Careless), ("good", Behaviour::Good)]).await;
    let expected = pairs(&[("careless/a", "careless"), ("good/a", "good")]);
    assert_eq!(daemon.ids("*/a").await, expected);
    let json = daemon
        .post(
            "/resolver.v1.ResolverService/GetSecrets",
            r#"{"pattern":"*/a"}"#,
        )
        .await;
    assert!(json.starts_with("HTTP/1.1 200 "), "{json}");
    assert!(
        json.contains(r#""expiresAt":"9999-12-31T23:59:59Z""#),
        "{json}"
    );
    daemon.stop().await;
}

#[tokio::test]
async fn a_deadline_of_the_providers_backend_is_reported_as_such() {
    let daemon = start_behaving(&[("remote", Behaviour::BackendTimedOut)]).await;
    let error = daemon.get("remote/key").await.expect_err("uncertain");
    let failure = the_failure(&error);
    assert_eq!(failure.kind, FailureKind::TimedOut);
    // The escape sequences of the provider's own words are gone.
    assert_eq!(failure.message, "the vault slept");
    daemon.stop().await;
}

#[tokio::test]
async fn a_failed_required_provider_fails_every_pattern_of_its_realm() {
    let home = Home::new(PLUGIN);
    let mut config = home.config();
    add(
        &home,
        &mut config,
        &[("broken", Behaviour::Fail), ("good", Behaviour::Good)],
    );
    plugin(&mut config, "broken").required = true;
    let daemon = TestDaemon::with_config(home.into(), config);
    daemon.wait_for_running(&["broken", "good"]).await;
    let error = daemon.get("**").await.expect_err("required");
    assert_eq!(the_failure(&error).name, "broken");
    assert_eq!(daemon.ids("good/*").await.len(), 2);
    assert_eq!(daemon.ids("good/key").await.len(), 1);
    daemon.stop().await;
}

#[tokio::test]
async fn equal_values_of_equal_rank_are_one_value_of_the_first_name() {
    let home = Arc::new(Home::new(PLUGIN));
    let mut config = home.config();
    let wide = Behaviour::OwnEverything;
    add(&home, &mut config, &[("left", wide), ("right", wide)]);
    let daemon = TestDaemon::with_config(home.clone(), config.clone());
    daemon.wait_for_running(&["left", "right"]).await;
    assert_eq!(
        daemon.ids("shared/key").await,
        pairs(&[("shared/key", "left")])
    );
    daemon.stop().await;

    plugin(&mut config, "right").priority = Some(1);
    let daemon = TestDaemon::with_config(home, config);
    daemon.wait_for_running(&["left", "right"]).await;
    assert_eq!(
        daemon.ids("shared/key").await,
        pairs(&[("shared/key", "right")])
    );
    daemon.stop().await;
}

/// A home with the access-control module `gate` and the provider `good`.
fn gate_and_good() -> (Home, Config) {
    let home = Home::new(PLUGIN);
    let mut config = home.config();
    let behaviours = [
        ("gate", Behaviour::AccessControl),
        ("good", Behaviour::Good),
    ];
    add(&home, &mut config, &behaviours);
    (home, config)
}

#[tokio::test]
async fn a_listed_module_decides_and_its_absence_denies_everything() {
    let (home, mut config) = gate_and_good();
    config
        .access_modules
        .insert("gate".parse().expect("a name"));
    config.restart.max_failures = 1;
    let daemon = TestDaemon::with_config(home.into(), config);
    assert_eq!(daemon.ids("good/key").await.len(), 1);
    let error = daemon.get("good/denied").await.expect_err("denied");
    assert!(matches!(error, ResolveError::Denied { .. }), "{error:?}");
    let error = daemon
        .set_enabled("gate", false)
        .await
        .expect_err("it is listed");
    assert_eq!(error.code(), keyway_rpc::Code::FailedPrecondition);
    // The executable is replaced by one that never registers.
    daemon.home.remove("gate");
    symlink("/bin/false", daemon.home.plugin("gate")).expect("a link");
    daemon.reload().await;
    let error = daemon.get("good/key").await.expect_err("denied");
    assert!(matches!(error, ResolveError::Denied { .. }), "{error:?}");
    assert!(error.to_string().contains("gate"), "{error}");
    daemon.stop().await;
}

#[tokio::test]
async fn a_plugin_of_an_unsupported_generation_is_stopped_with_advice() {
    let daemon = TestDaemon::start(PLUGIN, &[("old", Behaviour::TooOld)]);
    let error = daemon.get("old/key").await.expect_err("unsupported");
    assert!(error.to_string().contains("rebuild it"), "{error}");
    daemon.stop().await;
}

#[tokio::test]
async fn the_audit_log_names_caller_id_and_provider_and_never_a_value() {
    let (home, mut config) = gate_and_good();
    let log = home.join("audit.jsonl");
    let mut audit = AuditConfig::new(&log);
    // A request waits until its record is written, with all that came before.
    audit.on_failure = AuditFailure::Refuse;
    config.audit = Some(audit);
    let daemon = TestDaemon::with_config(home.into(), config);
    daemon.get("good/key").await.expect("a secret");
    daemon.get("good/denied").await.expect_err("denied");
    let text = std::fs::read_to_string(&log).expect("the log");
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| line.contains(r#""action":"get""#))
        .collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert_eq!(text.matches(r#""action":"register""#).count(), 2, "{text}");
    assert!(
        lines[0].contains(r#""patterns":["good/key"]"#)
            && lines[0].contains(r#""providers":["good"]"#),
        "{text}"
    );
    assert!(
        lines[1].contains(r#""outcome":"permission_denied""#),
        "{text}"
    );
    assert!(!text.contains("dummy-value-of"), "a value is in the log");
    daemon.stop().await;
}

#[tokio::test]
async fn an_explained_pattern_has_the_providers_of_the_realm_for_each_id() {
    let daemon = start_behaving(&[("a", Behaviour::Good), ("b", Behaviour::Fail)]).await;
    let path = "/keyway.v1.ManagementService/Explain";
    let explained = daemon.post(path, r#"{"pattern":"**"}"#).await;
    assert!(
        explained.contains(r#""id":"a/a","outcome":"OUTCOME_VALUE","provider":"a""#),
        "{explained}"
    );
    assert!(
        explained.contains(r#""failed":[{"name":"b""#),
        "{explained}"
    );
    daemon.stop().await;
}

#[tokio::test]
async fn an_expired_deadline_names_the_slow_provider() {
    let daemon = start_behaving(&[("slow", Behaviour::Slow)]).await;
    let daemon_socket = DaemonSocket::at(daemon.address().clone());
    let resolver = Resolver::new(daemon_socket).with_timeout(Duration::from_secs(1));
    let error = resolver.get(&"slow/slow".parse().expect("a pattern")).await;
    let error = error.expect_err("no response");
    let failure = the_failure(&error);
    assert_eq!(
        (failure.name.as_str(), failure.kind),
        ("slow", FailureKind::TimedOut)
    );
    daemon.stop().await;
}
