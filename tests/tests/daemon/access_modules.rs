//! Access-control modules: in every state of a module, a request that it has not allowed is denied.

use std::sync::Arc;
use std::time::Duration;

use keyway_proto::keyway::v1::PluginState;
use keyway_resolver::ResolveError;
use keyway_runtime::Config;
use keyway_tests::TestDaemon;
use keyway_tests::daemon::{Home, plugin};
use keyway_tests::script::{Decision, Script};
use rustix::process::{Signal, kill_process};

use crate::common::PLUGIN;

const ID: &str = "good/key";

/// Requests about which a module is consulted, with their arguments.
const READS: &[(&str, &str)] = &[
    ("get", ID),
    ("list", ID),
    ("explain", ID),
    ("authorize", ID),
];

fn module(decision: Decision) -> Script {
    Script {
        is_module: true,
        decision,
        ..Script::default()
    }
}

/// A home with the provider `good` and the module `gate`, which is not listed.
fn unlisted(gate: &Script) -> (Arc<Home>, Config) {
    let home = Home::new(PLUGIN);
    let config = home.config();
    home.add("good");
    home.play("gate", gate);
    (home.into(), config)
}

/// The same with `gate` in `[access] modules`.
fn listed(gate: &Script) -> (Arc<Home>, Config) {
    let (home, mut config) = unlisted(gate);
    list(&mut config);
    (home, config)
}

fn list(config: &mut Config) {
    config
        .access_modules
        .insert("gate".parse().expect("a name"));
}

/// The module `gate` ends with status 3 instead of registering.
fn exiting() -> Script {
    Script {
        exits_with: Some(3),
        ..module(Decision::DenyDenied)
    }
}

/// The module has exceeded its retries, and denies.
async fn assert_denied_without_restarts(daemon: &TestDaemon) {
    daemon
        .wait_for_state("gate", PluginState::RetriesExceeded)
        .await;
    assert_denied(daemon).await;
}

async fn start((home, config): (Arc<Home>, Config)) -> TestDaemon {
    let daemon = TestDaemon::with_config(home, config);
    daemon.wait_for_running(&["good", "gate"]).await;
    daemon
}

/// Every read must be denied with a message that names the module.
async fn assert_denied(daemon: &TestDaemon) {
    for (method, argument) in READS {
        let reply = daemon.call(method, argument).await;
        assert_eq!(reply.outcome(), "permission_denied", "{method}: {reply:?}");
        assert!(reply.body.contains("gate"), "{method}: {reply:?}");
    }
}

#[tokio::test]
async fn a_module_that_denies_everything_can_be_removed_in_the_configuration() {
    let daemon = start(listed(&module(Decision::DenyAll))).await;
    assert_denied(&daemon).await;
    for (method, argument) in [
        ("disable", "good"),
        ("enable", "good"),
        ("trust", "good"),
        ("untrust", "good"),
        ("reload", ""),
        ("stop", ""),
    ] {
        let reply = daemon.call(method, argument).await;
        assert_eq!(reply.outcome(), "permission_denied", "{method}: {reply:?}");
    }
    // Requests without a consultation still succeed, and SIGHUP reads the configuration.
    for method in ["version", "plugins", "status", "inspect"] {
        assert!(daemon.call(method, "").await.is_ok(), "{method}");
    }
    daemon
        .reload_with(|config| {
            config.access_modules.clear();
            plugin(config, "gate").enabled = Some(false);
        })
        .await;
    assert_eq!(daemon.ids(ID).await.len(), 1);
    daemon.stop().await;
}

#[tokio::test]
async fn modules_are_consulted_about_management_by_reserved_ids() {
    let gate = module(Decision::DenyBelow("keyway/manage/disable".into()));
    let daemon = start(listed(&gate)).await;
    let disabled = daemon.call("disable", "good").await;
    assert_eq!(disabled.outcome(), "permission_denied", "{disabled:?}");
    assert_eq!(daemon.ids(ID).await.len(), 1);
    assert!(daemon.call("reload", "").await.is_ok());
    assert!(daemon.call("enable", "good").await.is_ok());
    let checked = daemon.home.events("gate");
    for expected in [
        "checked keyway/manage/disable/good",
        "checked keyway/manage/enable/good",
        "checked keyway/manage/reload",
    ] {
        assert!(
            checked.iter().any(|event| event == expected),
            "no {expected} in {checked:?}"
        );
    }
    // A query cannot make the module decide about management.
    let reply = daemon.call("get", "keyway/manage/disable/good").await;
    assert_eq!(reply.outcome(), "not_found", "{reply:?}");
    daemon.stop().await;
}

#[tokio::test]
async fn a_module_without_a_decision_denies() {
    let (home, mut config) = listed(&module(Decision::Hang));
    plugin(&mut config, "gate").timeout = Some(Duration::from_millis(200));
    let daemon = start((home, config)).await;
    assert_denied(&daemon).await;
    daemon.home.change("gate", &module(Decision::Fail));
    assert_denied(&daemon).await;
    daemon.home.change("gate", &module(Decision::DenyDenied));
    assert_eq!(daemon.ids(ID).await.len(), 1);
    let pid = daemon.pid("gate").await;
    kill_process(pid, Signal::STOP).expect("stopped");
    assert_denied(&daemon).await;
    kill_process(pid, Signal::CONT).expect("continued");
    assert_eq!(daemon.ids(ID).await.len(), 1);
    daemon.stop().await;
}

#[tokio::test]
async fn a_module_that_ended_denies_whether_or_not_it_is_listed() {
    for is_listed in [true, false] {
        let gate = module(Decision::DenyDenied);
        let (home, mut config) = unlisted(&gate);
        if is_listed {
            list(&mut config);
        }
        config.restart.max_failures = 1;
        let daemon = start((Arc::clone(&home), config)).await;
        home.change("gate", &exiting());
        kill_process(daemon.pid("gate").await, Signal::KILL).expect("killed");
        assert_denied_without_restarts(&daemon).await;
        // Modules are consulted about management too, so only the configuration removes this one.
        let disabled = daemon.call("disable", "gate").await;
        assert!(!disabled.is_ok(), "{disabled:?}");
        daemon
            .reload_with(|config| plugin(config, "gate").enabled = Some(false))
            .await;
        if is_listed {
            assert_denied(&daemon).await;
        } else {
            assert_eq!(daemon.ids(ID).await.len(), 1);
        }
        daemon.stop().await;
    }
}

#[tokio::test]
async fn a_starting_module_is_waited_for() {
    for is_listed in [true, false] {
        let held = Script {
            holds_registration: true,
            ..module(Decision::DenyDenied)
        };
        let (home, mut config) = unlisted(&held);
        if is_listed {
            list(&mut config);
        }
        let daemon = TestDaemon::with_config(Arc::clone(&home), config);
        daemon.wait_for_running(&["good"]).await;
        let release = async {
            home.wait_for_events("gate", "holds", 1).await;
            home.change("gate", &module(Decision::DenyDenied));
        };
        let (denied, allowed, ()) =
            tokio::join!(daemon.get("good/denied"), daemon.ids(ID), release);
        let error = denied.expect_err("denied");
        assert!(matches!(error, ResolveError::Denied { .. }), "{error:?}");
        assert_eq!(allowed.len(), 1);
        daemon.stop().await;
    }
}

#[tokio::test]
async fn requests_wait_for_a_module_that_a_reload_restarts() {
    let daemon = start(listed(&module(Decision::DenyDenied))).await;
    {
        let reload = daemon.reload_with(|config| {
            plugin(config, "gate")
                .env
                .insert("ROUND".into(), "2".into());
        });
        let mut is_done = false;
        let mut reload = std::pin::pin!(reload);
        while !is_done {
            is_done = tokio::select! {
                biased;
                report = &mut reload => {
                    assert_eq!(report.restarted, ["gate".parse().expect("a name")]);
                    true
                }
                () = tokio::task::yield_now() => false,
            };
            assert_eq!(daemon.ids(ID).await.len(), 1);
            let error = daemon.get("good/denied").await.expect_err("denied");
            assert!(matches!(error, ResolveError::Denied { .. }), "{error:?}");
        }
    }
    daemon.stop().await;
}

/// The state file does not matter to a listed module: damaged, absent, or impossible to replace.
#[tokio::test]
async fn a_listed_module_that_cannot_start_denies_with_every_state_file() {
    let damages: [fn(&std::path::Path); 3] = [
        |state| std::fs::write(state, "{ damaged").expect("written"),
        |state| std::fs::remove_file(state).expect("removed"),
        |state| {
            std::fs::remove_file(state).expect("removed");
            std::fs::create_dir(state).expect("a directory");
        },
    ];
    for damage in damages {
        let gate = module(Decision::DenyDenied);
        let (home, mut config) = listed(&gate);
        config.restart.max_failures = 1;
        let daemon = start((Arc::clone(&home), config.clone())).await;
        assert_eq!(daemon.ids(ID).await.len(), 1);
        daemon.stop().await;
        damage(&home.path().join("state/state.json"));
        home.change("gate", &exiting());
        let daemon = TestDaemon::with_config(Arc::clone(&home), config);
        assert_denied(&daemon).await;
        assert_denied_without_restarts(&daemon).await;
        daemon.stop().await;
    }
}

/// The state keeps the registration of its file, so it denies even if it does not start again.
#[tokio::test]
async fn an_unlisted_module_of_the_last_run_denies_when_it_does_not_start() {
    let gate = module(Decision::DenyDenied);
    let (home, mut config) = unlisted(&gate);
    config.restart.max_failures = 1;
    let daemon = start((Arc::clone(&home), config.clone())).await;
    daemon.stop().await;
    home.change("gate", &exiting());
    let daemon = TestDaemon::with_config(home, config);
    assert_denied(&daemon).await;
    assert_denied_without_restarts(&daemon).await;
    daemon.stop().await;
}

/// A name of the list without file and process, and one that turns out to be a provider.
#[tokio::test]
async fn a_listed_module_that_is_absent_or_a_provider_denies() {
    let (home, config) = listed(&module(Decision::DenyDenied));
    home.remove("gate");
    let daemon = TestDaemon::with_config(Arc::clone(&home), config.clone());
    daemon.wait_for_running(&["good"]).await;
    assert_denied(&daemon).await;
    daemon.stop().await;
    home.play("gate", &Script::default());
    let daemon = start((home, config)).await;
    assert_denied(&daemon).await;
    daemon.stop().await;
}
