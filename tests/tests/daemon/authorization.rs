//! Authorization of other users, of processes of other namespaces, and of the processes of a launched plugin.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyway_local::Address;
use keyway_proto::plugins::v1::RunStatus;
use keyway_test_support::{Process, WAIT_LIMIT, require};
use keyway_tests::daemon::{Home, plugin};
use keyway_tests::script::{DaemonCall, Script, Via};
use keyway_tests::{DaemonProcess, TestDaemon};

use crate::common::{DAEMON, ID, PLUGIN, provider, provider_of};

/// Runs a program as another user without capabilities.
const AS_READER: &[&str] = &[
    "setpriv",
    "--reuid=4711",
    "--regid=4711",
    "--clear-groups",
    "--inh-caps=-all",
];

const READER: u32 = 4711;

/// Every method that a caller can call, with an argument.
const METHODS: &[(&str, &str)] = &[
    ("health", ""),
    ("version", ""),
    ("get", ID),
    ("list", ID),
    ("explain", ID),
    ("authorize", ID),
    ("plugins", ""),
    ("inspect", ""),
    ("status", ""),
    ("enable", "vault"),
    ("disable", "vault"),
    ("trust", "vault"),
    ("untrust", "vault"),
    ("reload", ""),
    ("stop", ""),
    ("hijack", ""),
];

/// Methods that change the daemon, or that only its user may read with.
const OWNER_ONLY: &[&str] = &[
    "inspect", "status", "enable", "disable", "trust", "untrust", "reload", "stop", "hijack",
];

/// Returns `true` if this is root and a program is installed.
fn has_root_and(program: &str) -> bool {
    require::has_root() && require::has_program(program)
}

fn home() -> Arc<Home> {
    let home = Home::new(PLUGIN);
    home.play("vault", &provider("right"));
    home.into()
}

#[tokio::test]
async fn a_listed_uid_reads_and_does_not_administrate() {
    if !has_root_and("setpriv") {
        return;
    }
    let home = home();
    std::os::unix::fs::symlink("/bin/false", home.plugin("broken")).expect("a link");
    DaemonProcess::configure(&home, &format!("allow_uids = [{READER}]\n"));
    let daemon = DaemonProcess::start(DAEMON, home, &[], 0);
    daemon.wait_for("ok", "get", ID).await;
    for (method, argument) in METHODS {
        let expected = if OWNER_ONLY.contains(method) {
            "permission_denied"
        } else {
            "ok"
        };
        let reply = daemon.call_as(AS_READER, method, argument).await;
        assert_eq!(reply.outcome(), expected, "{method}: {reply:?}");
    }
    // In the moment of a retry it is starting.
    let has_failed = async {
        let exited = "exited with status 1";
        while !daemon.call("plugins", "").await.body.contains(exited) {}
    };
    let has_failed = tokio::time::timeout(WAIT_LIMIT, has_failed).await;
    has_failed.expect("the owner sees why");
    let shown = daemon.call_as(AS_READER, "plugins", "").await;
    assert!(
        shown.body.contains("vault") && !shown.body.contains("exited"),
        "{shown:?}"
    );
    assert!(daemon.call("get", ID).await.is_ok(), "vault still runs");
}

#[tokio::test]
async fn a_uid_that_is_not_listed_is_refused_and_a_removed_one_is_disconnected() {
    if !has_root_and("setpriv") {
        return;
    }
    let home = home();
    let allowed = format!("allow_uids = [{READER}]\n");
    DaemonProcess::configure(&home, &allowed);
    let mut daemon = DaemonProcess::start(DAEMON, home, &[], 0);
    daemon.wait_for("ok", "get", ID).await;
    let stranger = ["setpriv", "--reuid=4712", "--regid=4712", "--clear-groups"];
    for (method, argument) in METHODS {
        let reply = daemon.call_as(&stranger, method, argument).await;
        assert_eq!(reply.outcome(), "closed", "{method}: {reply:?}");
    }
    let mut reader = Process::spawn(daemon.connect_as(AS_READER).stdout(Stdio::piped()));
    let mut output = BufReader::new(reader.stdout());
    let mut line = String::new();
    output.read_line(&mut line).expect("a line");
    assert_eq!(line, "connected\n");
    DaemonProcess::configure(&daemon.home, "allow_uids = []\n");
    daemon.reload();
    // The process ends with its connection.
    assert!(reader.wait().success());
    let reply = daemon.call_as(AS_READER, "get", ID).await;
    assert_eq!(reply.outcome(), "closed", "{reply:?}");
}

/// Root is an ordinary uid to the daemon of another user.
#[tokio::test]
async fn root_is_refused_unless_it_is_listed_and_then_only_reads() {
    if !has_root_and("setpriv") {
        return;
    }
    for (configured, expected) in [("", "closed"), ("allow_uids = [0]\n", "ok")] {
        let home = home();
        // The file of the plugin has to belong to the daemon's user or to root.
        DaemonProcess::configure(&home, configured);
        let daemon = DaemonProcess::start(DAEMON, home, AS_READER, READER);
        let as_owner = daemon.call_as(AS_READER, "version", "").await;
        assert!(as_owner.is_ok(), "{as_owner:?}\n{}", daemon.log());
        assert_eq!(daemon.call("version", "").await.outcome(), expected);
        let disabled = daemon.call("disable", "vault").await;
        assert!(!disabled.is_ok(), "{disabled:?}");
        assert!(!daemon.call("hijack", "").await.is_ok());
    }
}

#[tokio::test]
async fn a_caller_of_another_pid_namespace_reads_at_a_path_alone() {
    if !has_root_and("unshare") {
        return;
    }
    let contained = ["unshare", "--pid", "--fork", "--kill-child"];
    for is_allowed in [false, true] {
        let home = home();
        let path = home.socket();
        let name = home.path().file_name().expect("a name").to_string_lossy();
        let abstract_address: Address = format!("@keyway-tests/{name}").parse().expect("a name");
        DaemonProcess::configure(
            &home,
            &format!(
                "listen = [\"{}\", \"{abstract_address}\"]\n[access]\ncontained = {is_allowed}\n",
                path.display()
            ),
        );
        let daemon = DaemonProcess::start(DAEMON, home, &[], 0);
        daemon.wait_for("ok", "get", ID).await;
        for address in [daemon.address(), abstract_address.clone()] {
            let outside = daemon.call_at(&address, &[], "plugins", "").await;
            assert!(outside.is_ok(), "{outside:?}");
            for (method, argument) in METHODS {
                let reply = daemon.call_at(&address, &contained, method, argument).await;
                let is_at_path = address.as_path().is_some();
                let is_permitted = match *method {
                    "health" | "version" => true,
                    "plugins" => false,
                    method if OWNER_ONLY.contains(&method) => false,
                    _ => is_at_path || is_allowed,
                };
                let expected = if is_permitted {
                    "ok"
                } else {
                    "permission_denied"
                };
                assert_eq!(
                    reply.outcome(),
                    expected,
                    "{method} at {address}: {reply:?}"
                );
            }
        }
    }
}

/// The overflow uid denotes every user without a mapping, so it equals no user, the daemon's own included.
#[test]
fn a_daemon_without_a_mapping_of_its_uid_does_not_start() {
    if !has_root_and("unshare") {
        return;
    }
    if !require::can_run(
        "unshare --user",
        Command::new("unshare").args(["--user", "true"]),
    ) {
        return;
    }
    let error = DaemonProcess::try_start(DAEMON, home(), &["unshare", "--user"], 0);
    let error = error.expect_err("refused");
    assert!(error.log.contains("user namespace"), "{error}");
}

/// Checks a launched plugin and the processes that it starts, before and after its registration.
#[tokio::test]
async fn a_launched_plugin_does_not_administrate_and_reads_nothing() {
    let methods = [
        ("get", ID),
        ("list", ID),
        ("explain", ID),
        ("authorize", ID),
        ("plugins", ""),
        ("inspect", ""),
        ("status", ""),
        ("disable", "vault"),
        ("trust", "vault"),
        ("reload", ""),
        ("stop", ""),
        ("hijack", ""),
    ];
    for calls_before_registration in [false, true] {
        let home = home();
        let mut calls = Vec::new();
        for via in [Via::Connection, Via::Socket, Via::Child] {
            calls.extend(methods.map(|(method, argument)| DaemonCall::new(via, method, argument)));
        }
        for (method, argument) in [("disable", "vault"), ("reload", ""), ("stop", "")] {
            calls.push(DaemonCall::new(Via::ChildInSession, method, argument));
        }
        let n_calls = calls.len();
        let evil = Script {
            calls,
            calls_before_registration,
            ..Script::default()
        };
        home.play("evil", &evil);
        let mut config = home.config();
        config.start_timeout = WAIT_LIMIT;
        let daemon = TestDaemon::with_config(Arc::clone(&home), config);
        let events = home.wait_for_events("evil", "called", n_calls).await;
        for event in &events {
            assert!(!event.ends_with(" ok"), "{event}");
            let is_on_socket = !event.starts_with("called Connection");
            assert!(
                !is_on_socket || event.ends_with(" permission_denied"),
                "{event}"
            );
        }
        daemon.wait_for("evil", RunStatus::Running).await;
        assert_eq!(daemon.value(ID).await.expect("a value"), "right");
        daemon.stop().await;
    }
}

/// Reports are a matter of the plugin's own connection.
#[tokio::test]
async fn a_plugin_reports_changes_over_its_connection_once_it_has_registered() {
    for (calls_before_registration, expected) in [
        (false, ["ok", "status 404", "status 404"]),
        (true, ["failed_precondition", "status 404", "status 404"]),
    ] {
        let home = home();
        let vias = [Via::Connection, Via::Socket, Via::Child];
        let calls = vias.map(|via| DaemonCall::new(via, "changed", "db/**"));
        let script = Script {
            calls: calls.to_vec(),
            calls_before_registration,
            ..Script::default()
        };
        home.play("reporter", &script);
        let mut config = home.config();
        config.start_timeout = WAIT_LIMIT;
        let daemon = TestDaemon::with_config(Arc::clone(&home), config);
        let events = home.wait_for_events("reporter", "called", 3).await;
        for (event, expected) in events.iter().zip(expected) {
            assert!(event.ends_with(expected), "{event}");
        }
        daemon.stop().await;
    }
}

#[tokio::test]
async fn a_flood_of_reports_is_refused_and_ends_nothing() {
    let home = home();
    let call = DaemonCall::new(Via::Connection, "changed", "db/**");
    let script = Script {
        calls: vec![call; 200],
        ..Script::default()
    };
    home.play("reporter", &script);
    let started = Instant::now();
    let daemon = TestDaemon::with_config(Arc::clone(&home), home.config());
    let events = home.wait_for_events("reporter", "called", 200).await;
    let n_ok = events.iter().filter(|event| event.ends_with(" ok")).count();
    let most = 10 + 10 * (started.elapsed().as_secs_f64().ceil() as usize);
    assert!((10..=most).contains(&n_ok), "{n_ok} of at most {most}");
    let is_refused = |event: &&String| event.ends_with("resource_exhausted");
    assert_eq!(events.iter().filter(is_refused).count(), 200 - n_ok);
    assert_eq!(daemon.value(ID).await.expect("a value"), "right");
    daemon.stop().await;
}

/// A query of its own processes does not wait for the plugin itself.
#[tokio::test]
async fn a_plugin_resolves_the_ids_of_may_resolve_also_while_it_starts() {
    let home = home();
    let calls = [Via::Socket, Via::Child]
        .iter()
        .flat_map(|via| {
            [
                DaemonCall::new(*via, "get", ID),
                DaemonCall::new(*via, "get", "db/other"),
                DaemonCall::new(*via, "get", "db/*"),
            ]
        })
        .collect();
    let resolving = Script {
        calls,
        calls_before_registration: true,
        ..Script::default()
    };
    home.play("resolving", &resolving);
    let mut config = home.config();
    config.start_timeout = WAIT_LIMIT;
    plugin(&mut config, "resolving").may_resolve = vec![ID.parse().expect("an id")];
    let daemon = TestDaemon::with_config(Arc::clone(&home), config);
    let events = home.wait_for_events("resolving", "called", 6).await;
    for via in ["Socket", "Child"] {
        let of_via: Vec<_> = events
            .iter()
            .filter_map(|event| event.strip_prefix(&format!("called {via} get ")))
            .collect();
        // The pattern is cut to the permitted ids.
        assert_eq!(of_via, ["ok", "permission_denied", "ok"], "{events:?}");
    }
    daemon.wait_for("resolving", RunStatus::Running).await;
    daemon.stop().await;
}

/// A process that left the group of its plugin is a program of the user for queries, and a descendant for management.
#[tokio::test]
async fn a_child_in_a_session_of_its_own_reads_as_the_user() {
    let home = home();
    let resolving = Script {
        calls: vec![DaemonCall::new(Via::ChildInSession, "get", ID)],
        ..Script::default()
    };
    home.play("resolving", &resolving);
    let daemon = TestDaemon::with_config(Arc::clone(&home), home.config());
    let events = home.wait_for_events("resolving", "called", 1).await;
    assert_eq!(events, ["called ChildInSession get ok"]);
    daemon.stop().await;
}

/// They denote management and writes in calls to access-control modules.
#[tokio::test]
async fn reserved_ids_are_neither_resolved_nor_listed() {
    let home = Home::new(PLUGIN);
    let reserved = "keyway/manage/disable/vault";
    let wide = Script {
        pattern: Some("**".into()),
        ..provider_of(&[
            (reserved, "never"),
            ("keyway/write/x", "never"),
            ("keyway/other", "fine"),
        ])
    };
    home.play("wide", &wide);
    let config = home.config();
    let daemon = TestDaemon::with_config(home.into(), config);
    daemon.wait_for("wide", RunStatus::Running).await;
    for id in [reserved, "keyway/write/x"] {
        assert_eq!(daemon.call("get", id).await.outcome(), "not_found", "{id}");
    }
    let ids: Vec<String> = daemon
        .ids("**")
        .await
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    assert_eq!(ids, ["keyway/other"]);
    let events = daemon.home.events("wide");
    assert!(
        !events.iter().any(|event| event.contains(reserved)),
        "{events:?}"
    );
    daemon.stop().await;
}

#[tokio::test]
async fn a_plugin_that_does_not_register_is_stopped_at_its_start_timeout() {
    let home = home();
    let stuck = Script {
        pattern: Some("stuck/**".into()),
        holds_registration: true,
        ..Script::default()
    };
    home.play("stuck", &stuck);
    let mut config = home.config();
    config.start_timeout = Duration::from_millis(300);
    let daemon = TestDaemon::with_config(home, config);
    // A query of another program waits for the first start, at most until that has failed.
    let value = tokio::time::timeout(WAIT_LIMIT, daemon.value(ID)).await;
    assert_eq!(value.expect("in time").expect("a value"), "right");
    daemon.stop().await;
}
