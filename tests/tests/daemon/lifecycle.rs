//! The life of a launched plugin. Test names that begin with `l` and a number refer to faults of comparable systems.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use keyway_proto::plugins::v1::RunStatus;
use keyway_resolver::{FailureKind, ResolveError};
use keyway_test_support::process::{children, in_group};
use keyway_test_support::{Process, WAIT_LIMIT, eventually, wait_until};
use keyway_tests::behaviour::VARIABLE;
use keyway_tests::daemon::{Home, behave, plugin, the_failure};
use keyway_tests::plugin::value_of;
use keyway_tests::{Behaviour, DaemonProcess, TestDaemon};

use crate::common::{DAEMON, PLUGIN};

#[tokio::test]
async fn a_query_waits_for_a_plugin_that_is_starting() {
    let daemon = TestDaemon::start(PLUGIN, &[("good", Behaviour::Good)]);
    let secrets = daemon.get("good/key").await.expect("a secret");
    assert_eq!(secrets.envelopes.len(), 1);
    assert_eq!(secrets.envelopes[0].value.expose(), value_of("good/key"));
    assert_eq!(secrets.envelopes[0].provider, "good");
    assert!(secrets.envelopes[0].resolved_at.is_some());
    daemon.stop().await;
}

#[tokio::test]
async fn l01_l03_a_slow_call_fails_alone_with_the_reason() {
    let home = Home::new(PLUGIN);
    let mut config = home.config();
    home.add("slow");
    behave(&mut config, "slow", Behaviour::Slow);
    plugin(&mut config, "slow").timeout = Some(Duration::from_millis(150));
    let daemon = TestDaemon::with_config(home.into(), config);
    let error = daemon.get("slow/slow").await.expect_err("too slow");
    let failure = the_failure(&error);
    assert_eq!(
        (failure.name.as_str(), failure.kind),
        ("slow", FailureKind::TimedOut)
    );
    assert!(
        failure.message.contains("within 150 ms"),
        "{}",
        failure.message
    );
    assert_eq!(daemon.ids("slow/quick").await.len(), 1);
    assert_eq!(
        daemon.plugin("slow").await.expect("listed").run_status(),
        RunStatus::Running
    );
    daemon.stop().await;
}

#[tokio::test]
async fn l05_a_plugin_that_does_not_register_in_time_is_not_a_candidate() {
    let home = Home::new(PLUGIN);
    let mut config = home.config();
    home.add("mute");
    behave(&mut config, "mute", Behaviour::NeverRegister);
    config.start_timeout = Duration::from_millis(100);
    let daemon = TestDaemon::with_config(home.into(), config);
    // The query waits for the first start. Once that has failed, a plugin without a configured realm is a candidate for no id.
    let error = daemon.get("any/thing").await.expect_err("not found");
    assert!(matches!(error, ResolveError::NotFound { .. }), "{error:?}");
    let plugin = daemon.wait_for("mute", RunStatus::RetriesExceeded).await;
    let message = plugin.status_message();
    assert!(
        message.contains("no registration within 100")
            && message.contains("keyway plugins enable mute"),
        "{message}"
    );
    daemon.stop().await;
}

#[test]
fn l06_a_killed_daemon_leaves_no_process_of_a_plugin_group() {
    let home = Home::new(PLUGIN);
    home.add("helped");
    let (variable, behaviour) = (VARIABLE, Behaviour::StartHelper.as_str());
    let text = format!("[plugins.helped]\nenv = {{ {variable} = \"{behaviour}\" }}\n");
    DaemonProcess::configure(&home, &text);
    let daemon = Process::spawn(Command::new(DAEMON).arg(home.path()));
    let daemon_pid = daemon.pid().as_raw_nonzero().get();
    // The plugin leads its own group, in which its helper runs.
    let leader = eventually("the plugin and its helper", || {
        let children = children(daemon_pid);
        let leader = children.iter().find(|pid| in_group(**pid).len() >= 2);
        leader.copied().ok_or(children)
    });
    // Dropped, it is killed.
    drop(daemon);
    // A process that was not killed would run for minutes.
    wait_until("the end of the plugin's group", || {
        in_group(leader).is_empty()
    });
}

#[tokio::test]
async fn l10_l11_a_crashed_plugin_is_restarted_and_its_calls_fail_at_once() {
    let daemon = TestDaemon::start(PLUGIN, &[("fragile", Behaviour::CrashOnRequest)]);
    daemon.wait_for_running(&["fragile"]).await;
    let error = daemon.get("fragile/crash").await.expect_err("it crashed");
    let failure = the_failure(&error);
    assert_eq!(
        (failure.name.as_str(), failure.kind),
        ("fragile", FailureKind::Internal)
    );
    daemon.wait_for_running(&["fragile"]).await;
    assert_eq!(daemon.ids("fragile/key").await.len(), 1);
    daemon.stop().await;
}

#[tokio::test]
async fn l12_bad_plugins_do_not_delay_a_query_outside_their_realm() {
    let home = Home::new(PLUGIN);
    let mut config = home.config();
    for (name, behaviour) in [
        ("bad-1", Behaviour::ExitBeforeHello),
        ("bad-2", Behaviour::NeverRegister),
        ("bad-3", Behaviour::Garbage),
        ("good", Behaviour::Good),
    ] {
        home.add(name);
        behave(&mut config, name, behaviour);
        // Otherwise a plugin that has not registered yet could hold any id.
        let realm = format!("{name}/**").parse().expect("a pattern");
        plugin(&mut config, name).realm = Some(vec![realm]);
    }
    home.write("plugins/not-a-program", "text");
    // A query that waits for a bad plugin does not end in time.
    config.start_timeout = 10 * WAIT_LIMIT;
    let daemon = TestDaemon::with_config(home.into(), config);
    let result = tokio::time::timeout(3 * WAIT_LIMIT, daemon.get("good/key")).await;
    let secrets = result.expect("no bad plugin is waited for");
    assert!(secrets.expect("a secret").is_complete());
    daemon.stop().await;
}

#[tokio::test]
async fn l12_a_daemon_without_plugins_returns_not_found() {
    let daemon = TestDaemon::start(PLUGIN, &[]);
    let error = daemon.get("any/thing").await.expect_err("nothing there");
    assert!(matches!(error, ResolveError::NotFound { .. }), "{error:?}");
    daemon.stop().await;
}

#[tokio::test]
async fn l18_a_flood_on_standard_error_does_not_block_a_plugin() {
    let daemon = TestDaemon::start(PLUGIN, &[("chatty", Behaviour::HugeStderr)]);
    assert_eq!(daemon.ids("chatty/key").await.len(), 1);
    daemon.stop().await;
}

#[tokio::test]
async fn a_disabled_plugin_is_not_a_candidate_even_after_a_restart_of_the_daemon() {
    let home = Arc::new(Home::new(PLUGIN));
    home.add("good");
    let daemon = TestDaemon::with_config(home.clone(), home.config());
    assert_eq!(daemon.ids("good/key").await.len(), 1);
    daemon.set_enabled("good", false).await.expect("disabled");
    assert!(matches!(
        daemon.get("good/key").await,
        Err(ResolveError::NotFound { .. })
    ));
    let listed = daemon.plugin("good").await.expect("listed");
    assert!(
        listed.disabled() && listed.run_status() == RunStatus::Stopped,
        "{listed:?}"
    );
    daemon.stop().await;

    let daemon = TestDaemon::with_config(home.clone(), home.config());
    assert!(
        matches!(
            daemon.get("good/key").await,
            Err(ResolveError::NotFound { .. })
        ),
        "forgotten"
    );
    daemon.set_enabled("good", true).await.expect("enabled");
    assert_eq!(daemon.ids("good/key").await.len(), 1);
    let error = daemon
        .set_enabled("unknown", true)
        .await
        .expect_err("unknown");
    assert_eq!(error.code(), keyway_rpc::Code::NotFound);
    daemon.stop().await;
}
