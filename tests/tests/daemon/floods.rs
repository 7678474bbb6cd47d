//! Much of everything at once: secrets in one result, and connections that are refused.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyway_proto::limits::MAX_ENVELOPES;
use keyway_resolver::{DaemonSocket, FailureKind, ResolveError, Resolver};
use keyway_test_support::process::status;
use keyway_test_support::require;
use keyway_test_support::wait::asynchronous::eventually;
use keyway_tests::daemon::Home;
use keyway_tests::script::Script;
use keyway_tests::{DaemonProcess, caller};

use crate::common::{DAEMON, ID, PLUGIN, provider};

/// Time enough for a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// A provider of so many secrets.
fn provider_of_many(count: usize) -> Script {
    Script {
        count,
        ..Script::default()
    }
}

/// The daemon's memory with the responses of a query: the budget of `answer_memory`, and the daemon's memory without them.
const MAX_RESIDENT_KIB: usize = (256 + 64) * 1024;

#[tokio::test]
async fn a_hundred_thousand_secrets_of_two_providers_are_one_result() {
    const HALF: usize = 50_000;
    let home = Arc::new(Home::new(PLUGIN));
    home.play("a", &provider_of_many(HALF));
    home.play("b", &provider_of_many(HALF));
    home.play("full", &provider_of_many(MAX_ENVELOPES));
    home.play("over", &provider_of_many(MAX_ENVELOPES + 1));
    home.play("far", &provider_of_many(200_000));
    // Debug builds on a busy machine take a while for so many.
    let plugins = ["a", "b", "full", "over", "far"];
    let timeouts = plugins.map(|name| format!("[plugins.{name}]\ntimeout = '2m'\n"));
    DaemonProcess::configure(&home, &timeouts.concat());
    let uid = rustix::process::geteuid().as_raw();
    let daemon = DaemonProcess::start(DAEMON, Arc::clone(&home), &[], uid);
    for name in plugins {
        daemon.wait_for("ok", "get", &format!("{name}/0")).await;
    }
    let resolver = Resolver::new(DaemonSocket::at(daemon.address())).with_timeout(LIMIT);
    let get = async |pattern: &str| resolver.get(&pattern.parse().expect("a pattern")).await;
    let full = get("full/*").await.expect("secrets");
    assert_eq!(
        (full.envelopes.len(), full.failures.len()),
        (MAX_ENVELOPES, 0)
    );
    drop(full);
    for name in ["over", "far"] {
        let error = get(&format!("{name}/*")).await.expect_err("too many");
        let ResolveError::Uncertain { failures, .. } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(failures[0].kind, FailureKind::Internal);
        assert!(
            failures[0].message.contains("more than 65536 secrets"),
            "{failures:?}"
        );
    }
    home.change("full", &Script::default());
    home.change("over", &Script::default());
    home.change("far", &Script::default());
    let secrets = get("**").await.expect("secrets");
    assert!(secrets.failures.is_empty(), "{:?}", secrets.failures);
    // And the two of each of the others.
    assert_eq!(secrets.envelopes.len(), 2 * HALF + 6);
    for (index, name) in [(0, "a"), (HALF, "b")] {
        let envelope = &secrets.envelopes[index];
        assert_eq!(
            (envelope.id.to_string(), &*envelope.provider),
            (format!("{name}/0"), name)
        );
    }
    let peak = status(daemon.pid(), "VmHWM").expect("it runs");
    assert!(peak < MAX_RESIDENT_KIB, "{peak} KiB");
}

#[tokio::test]
async fn ten_thousand_refused_connections_hold_up_no_caller_and_leave_nothing() {
    const ALLOWED: u32 = 4711;
    const STRANGER: [&str; 4] = ["setpriv", "--reuid=4712", "--regid=4712", "--clear-groups"];
    if !require::has_root() || !require::has_program("setpriv") {
        return;
    }
    let home = Arc::new(Home::new(PLUGIN));
    home.play("db", &provider("value"));
    // Without it the socket is closed to other users.
    DaemonProcess::configure(&home, &format!("allow_uids = [{ALLOWED}]\n"));
    let daemon = DaemonProcess::start(DAEMON, home, &[], 0);
    daemon.wait_for("ok", "get", ID).await;
    let flood = async |count: usize| {
        let (command, address) = (daemon.flood_as(&STRANGER, count), daemon.address());
        let flood = tokio::task::spawn_blocking(move || caller::flooded(command));
        let mut longest = Duration::ZERO;
        while !flood.is_finished() {
            let (began, address) = (Instant::now(), address.clone());
            let call = move || caller::call(&address, "get", ID);
            let reply = tokio::task::spawn_blocking(call).await.expect("no panic");
            assert!(reply.is_ok(), "{reply:?}");
            longest = longest.max(began.elapsed());
        }
        assert_eq!(
            flood.await.expect("no panic"),
            count,
            "all are closed without a byte"
        );
        longest
    };
    let descriptors = || {
        fs::read_dir(format!("/proc/{}/fd", daemon.pid()))
            .expect("it runs")
            .count()
    };
    flood(1_000).await;
    let before = (
        descriptors(),
        status(daemon.pid(), "VmRSS").expect("it runs"),
    );
    let longest = flood(10_000).await;
    assert!(longest < LIMIT / 4, "a caller waited {longest:?}");
    eventually("the descriptors", async || {
        let now = descriptors();
        if now <= before.0 {
            Ok(())
        } else {
            Err((now, before.0))
        }
    })
    .await;
    let resident = status(daemon.pid(), "VmRSS").expect("it runs");
    assert!(
        resident <= before.1 + before.1 / 10,
        "{resident} KiB after {} KiB",
        before.1
    );
    // A burst of ten, and one each five seconds.
    let log = daemon.log();
    let lines = log.lines().filter(|line| line.contains("4712")).count();
    assert!((1..60).contains(&lines), "{lines} lines:\n{log}");
}
