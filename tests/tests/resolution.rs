//! What callers are told, with real plugin processes.

use keyway_resolver::ResolveError;
use keyway_tests::daemon::{Home, behave, plugin};
use keyway_tests::{Behaviour, TestDaemon};

const PLUGIN: &str = env!("CARGO_BIN_EXE_misbehaving-plugin");

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(id, provider)| ((*id).into(), (*provider).into()))
        .collect()
}

/// Every plugin has registered; a query for what no one has waits for the last of them.
async fn settle(daemon: &TestDaemon, names: &[&str]) {
    for name in names {
        daemon
            .wait_for(name, keyway_proto::plugins::v1::RunStatus::Running)
            .await;
    }
}

#[tokio::test]
async fn answers_come_in_the_order_of_names_and_only_from_whom_the_query_concerns() {
    let daemon = TestDaemon::start(
        PLUGIN,
        &[
            ("b", Behaviour::Good),
            ("a", Behaviour::Good),
            ("c", Behaviour::Good),
        ],
    );
    settle(&daemon, &["a", "b", "c"]).await;
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
async fn a_provider_cannot_answer_for_a_realm_that_is_not_its_own() {
    let daemon = TestDaemon::start(PLUGIN, &[("thief", Behaviour::OutsideRealm)]);
    assert_eq!(
        daemon.ids("thief/key").await,
        pairs(&[("thief/key", "thief")])
    );
    assert!(matches!(
        daemon.get("stolen/id").await,
        Err(ResolveError::NotFound { .. })
    ));
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
async fn a_partial_answer_names_who_failed_and_an_empty_one_is_unavailable() {
    let daemon = TestDaemon::start(
        PLUGIN,
        &[("broken", Behaviour::Fail), ("good", Behaviour::Good)],
    );
    settle(&daemon, &["broken", "good"]).await;
    let secrets = daemon.get("**").await.expect("a partial answer");
    assert_eq!(secrets.envelopes.len(), 2);
    assert_eq!(secrets.failed_providers(), ["broken"]);
    let error = daemon.get("broken/key").await.expect_err("unavailable");
    assert!(
        matches!(error, ResolveError::Unavailable { .. }),
        "{error:?}"
    );
    assert!(
        error
            .to_string()
            .contains("broken (internal: backend exploded)"),
        "{error}"
    );
    daemon.stop().await;
}

/// One plugin's carelessness must not cost the callers what the others answered, nor a plain JSON client its answer.
#[tokio::test]
async fn what_a_careless_provider_answers_can_be_read_by_everybody() {
    let daemon = TestDaemon::start(
        PLUGIN,
        &[("careless", Behaviour::Careless), ("good", Behaviour::Good)],
    );
    settle(&daemon, &["careless", "good"]).await;
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
async fn a_deadline_of_the_providers_own_is_not_taken_for_ours() {
    let daemon = TestDaemon::start(PLUGIN, &[("remote", Behaviour::BackendTimedOut)]);
    settle(&daemon, &["remote"]).await;
    let error = daemon.get("remote/key").await.expect_err("unavailable");
    assert!(
        error
            .to_string()
            .ends_with("remote (deadline_exceeded: the vault slept)"),
        "{error}"
    );
    daemon.stop().await;
}

#[tokio::test]
async fn a_required_provider_makes_the_whole_answer_unavailable() {
    let home = Home::new(PLUGIN);
    let mut config = home.config();
    for (name, behaviour) in [("broken", Behaviour::Fail), ("good", Behaviour::Good)] {
        home.add(name);
        behave(&mut config, name, behaviour);
    }
    plugin(&mut config, "broken").required = true;
    let daemon = TestDaemon::with_config(home.into(), config);
    settle(&daemon, &["broken", "good"]).await;
    assert!(matches!(
        daemon.get("**").await,
        Err(ResolveError::Unavailable { .. })
    ));
    assert_eq!(daemon.ids("good/key").await.len(), 1);
    daemon.stop().await;
}

#[tokio::test]
async fn equal_providers_of_one_id_are_both_shown_and_priority_decides() {
    let home = std::sync::Arc::new(Home::new(PLUGIN));
    let mut config = home.config();
    for name in ["left", "right"] {
        home.add(name);
        behave(&mut config, name, Behaviour::OwnEverything);
    }
    let daemon = TestDaemon::with_config(home.clone(), config.clone());
    settle(&daemon, &["left", "right"]).await;
    assert_eq!(
        daemon.ids("shared/key").await,
        pairs(&[("shared/key", "left"), ("shared/key", "right")])
    );
    daemon.stop().await;

    plugin(&mut config, "right").priority = Some(1);
    let daemon = TestDaemon::with_config(home, config);
    settle(&daemon, &["left", "right"]).await;
    assert_eq!(
        daemon.ids("shared/key").await,
        pairs(&[("shared/key", "right")])
    );
    daemon.stop().await;
}

#[tokio::test]
async fn access_control_decides_and_fails_closed() {
    let home = Home::new(PLUGIN);
    let mut config = home.config();
    for (name, behaviour) in [
        ("gate", Behaviour::AccessControl),
        ("good", Behaviour::Good),
    ] {
        home.add(name);
        behave(&mut config, name, behaviour);
    }
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
        .expect_err("it must be running");
    assert_eq!(error.code(), keyway_rpc::Code::FailedPrecondition);
    // The module is gone: nobody gets anything.
    daemon.home.remove("gate");
    daemon
        .handle
        .reload()
        .await
        .expect("running")
        .expect("reloaded");
    let error = daemon.get("good/key").await.expect_err("denied");
    assert!(error.to_string().contains("gate"), "{error}");
    daemon.stop().await;
}

#[tokio::test]
async fn a_plugin_too_old_to_be_asked_is_stopped_with_advice() {
    let daemon = TestDaemon::start(PLUGIN, &[("old", Behaviour::TooOld)]);
    let error = daemon.get("old/key").await.expect_err("it cannot answer");
    assert!(error.to_string().contains("rebuild it"), "{error}");
    daemon.stop().await;
}

#[tokio::test]
async fn the_audit_log_says_who_got_what_and_never_a_value() {
    let home = Home::new(PLUGIN);
    let mut config = home.config();
    for (name, behaviour) in [
        ("gate", Behaviour::AccessControl),
        ("good", Behaviour::Good),
    ] {
        home.add(name);
        behave(&mut config, name, behaviour);
    }
    let log = home.path().join("audit.jsonl");
    config.audit = Some(keyway_runtime::AuditConfig::new(&log));
    let daemon = TestDaemon::with_config(home.into(), config);
    daemon.get("good/key").await.expect("a secret");
    daemon.get("good/denied").await.expect_err("denied");
    let text = std::fs::read_to_string(&log).expect("the log");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
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
