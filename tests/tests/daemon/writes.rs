//! Writes: the callers that may write, the consultation of a module, and the plugin that takes one.

use keyway_tests::TestDaemon;
use keyway_tests::daemon::Home;
use keyway_tests::script::{Decision, Script};

use crate::common::PLUGIN;

/// A daemon with the provider `good`, which stores nothing, and the module `gate`.
async fn start(decision: Decision) -> TestDaemon {
    let home = Home::new(PLUGIN);
    let mut config = home.config();
    config.docker_writes = true;
    home.add("good");
    home.play(
        "gate",
        &Script {
            is_module: true,
            decision,
            ..Script::default()
        },
    );
    config
        .access_modules
        .insert("gate".parse().expect("a name"));
    let daemon = TestDaemon::with_config(home.into(), config);
    daemon.wait_for_running(&["good", "gate"]).await;
    daemon
}

/// Each method of the store, with a request for `id`.
fn requests(id: &str) -> [(&'static str, String); 4] {
    [
        ("Set", format!(r#"{{"id":"{id}","value":"ZHVtbXk="}}"#)),
        ("Remove", format!(r#"{{"id":"{id}"}}"#)),
        ("Versions", format!(r#"{{"id":"{id}"}}"#)),
        ("Restore", format!(r#"{{"id":"{id}","version":"1"}}"#)),
    ]
}

async fn call(daemon: &TestDaemon, method: &str, json: &str) -> String {
    let path = format!("/keyway.store.v1.StoreService/{method}");
    daemon.post(&path, json).await
}

#[tokio::test]
async fn a_module_that_denies_a_write_keeps_it_from_every_plugin() {
    let daemon = start(Decision::DenyBelow("keyway/write/good".to_owned())).await;
    for (method, json) in requests("good/key") {
        let response = call(&daemon, method, &json).await;
        assert!(
            response.contains("permission_denied"),
            "{method}: {response}"
        );
        assert!(response.contains("gate"), "{method}: {response}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_module_is_consulted_about_a_write_of_dockers_programs() {
    let daemon = start(Decision::DenyBelow("keyway/write/good".to_owned())).await;
    let json = r#"{"id":"good/key","value":"dummy"}"#;
    let response = daemon.post("/internal/secrets", json).await;
    assert!(response.contains("gate"), "{response}");
    let json = r#"{"id":"other/key","value":"dummy"}"#;
    let response = daemon.post("/internal/secrets", json).await;
    assert!(response.contains("there is no plugin file"), "{response}");
    daemon.stop().await;
}

#[tokio::test]
async fn a_permitted_write_goes_to_the_named_provider_or_the_default_one() {
    let daemon = start(Decision::DenyDenied).await;
    for (method, json) in requests("good/key") {
        let response = call(&daemon, method, &json).await;
        assert!(
            response.contains("failed_precondition"),
            "{method}: {response}"
        );
        assert!(
            response.contains("there is no plugin file"),
            "{method}: {response}"
        );
        let named = json.replacen('{', r#"{"provider":"good","#, 1);
        let response = call(&daemon, method, &named).await;
        assert!(
            response.contains("good does not store secrets"),
            "{method}: {response}"
        );
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_request_that_breaks_a_rule_reaches_neither_module_nor_plugin() {
    let daemon = start(Decision::DenyDenied).await;
    for (method, json, part) in [
        ("Set", r#"{"id":"a=b","value":""}"#, "invalid_argument"),
        ("Set", r#"{"value":""}"#, "invalid_argument"),
        ("Remove", r#"{"id":"good/*"}"#, "invalid_argument"),
        ("Restore", r#"{"id":"good/key"}"#, "names no version"),
        (
            "Set",
            r#"{"id":"keyway/write/a","value":""}"#,
            "is reserved",
        ),
    ] {
        let response = call(&daemon, method, json).await;
        assert!(response.contains(part), "{method} {json}: {response}");
        assert!(!response.contains("a=b"), "{response}");
    }
    daemon.stop().await;
}
