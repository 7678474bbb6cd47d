//! The limits for peers: at each limit, one above it, and far above it.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use keyway_proto::keyway::v1::{
    CatalogServiceClient, ListPluginsRequest, ListSecretsRequest, ManagementServiceClient,
};
use keyway_proto::limits::{
    DEFAULT_CONCURRENCY, MAX_AUTHORIZE_PATTERNS, MAX_CONCURRENCY, MAX_DESCRIPTION_LEN,
    MAX_DESCRIPTION_TEXT_LEN, MAX_ENVELOPES, MAX_ERROR_MESSAGE_LEN, MAX_ERROR_METADATA_LEN,
    MAX_FAILURES, MAX_FAILURES_LEN, MAX_METADATA_ENTRIES, MAX_METADATA_LEN, MAX_NAME_LEN,
    MAX_REALM_PATTERNS, MAX_REMEDY_LEN, MAX_REQUEST_LEN, MAX_RESPONSE_LEN, MAX_RETRY_AFTER,
    MAX_VALUE_LEN, MAX_VERSION_LEN, MAX_WRITE_REQUEST_LEN,
};
use keyway_proto::plugins::v1::RunStatus;
use keyway_proto::resolver::v1::{
    AuthorizeRequest, AuthorizerServiceClient, GetSecretsRequest, ResolverServiceClient,
};
use keyway_resolver::{DaemonSocket, FailureKind, ProviderFailure, ResolveError};
use keyway_rpc::client::{Client, Config};
use keyway_rpc::{Code, Codec, Error};
use keyway_secrets::Pattern;
use keyway_test_support::log::Log;
use keyway_test_support::wait::asynchronous::eventually;
use keyway_tests::daemon::Home;
use keyway_tests::plugin::hijack;
use keyway_tests::script::{Description, Script};
use keyway_tests::{Behaviour, DaemonProcess, TestDaemon};
use rustix::process::{Pid, Signal, kill_process};

use crate::common::{DAEMON, ID, PLUGIN, home_with, provider, start_behaving};

/// A client that speaks binary protobuf, and one that speaks JSON.
fn clients(daemon: &TestDaemon) -> [Client<DaemonSocket>; 2] {
    [Codec::Proto, Codec::Json].map(|codec| {
        let socket = DaemonSocket::at(daemon.address().clone());
        Client::with_config(socket, Config::default().codec(codec))
    })
}

/// The error of each method that takes this pattern.
async fn errors(client: &Client<DaemonSocket>, pattern: &str) -> [Error; 3] {
    let pattern = || Some(pattern.to_owned());
    let resolver = ResolverServiceClient::from(client.clone());
    let get = resolver.get_secrets(GetSecretsRequest { pattern: pattern() });
    let catalog = CatalogServiceClient::from(client.clone());
    let list = catalog.list_secrets(ListSecretsRequest { pattern: pattern() });
    let authorizer = AuthorizerServiceClient::from(client.clone());
    let patterns = vec![pattern().unwrap_or_default()];
    let authorize = authorizer.authorize(AuthorizeRequest { patterns });
    [
        get.await.expect_err("refused"),
        list.await.expect_err("refused"),
        authorize.await.expect_err("refused"),
    ]
}

#[tokio::test]
async fn patterns_are_refused_beyond_their_limits_by_every_method_and_codec() {
    let daemon = start_behaving(&[("good", Behaviour::Good)]).await;
    let deep = |components: usize| format!("good{}", "/a".repeat(components - 1));
    let long = |len: usize| format!("good/{}", "a".repeat(len - 5));
    for client in clients(&daemon) {
        let resolver = ResolverServiceClient::from(client.clone());
        for id in [deep(Pattern::MAX_COMPONENTS), long(Pattern::MAX_LEN)] {
            let request = GetSecretsRequest { pattern: Some(id) };
            let response = resolver.get_secrets(request).await.expect("a secret");
            assert_eq!(response.message().envelopes.len(), 1);
        }
        for pattern in [
            deep(Pattern::MAX_COMPONENTS + 1),
            long(Pattern::MAX_LEN + 1),
            deep(20_000),
            long(60_000),
        ] {
            for error in errors(&client, &pattern).await {
                assert_eq!(error.code(), Code::InvalidArgument, "{error}");
                assert!(error.message().contains("4096 bytes and 128"), "{error}");
                assert!(error.message().len() < 300, "{error}");
            }
        }
        for error in errors(&client, &long(MAX_REQUEST_LEN + 1)).await {
            assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
        }
        let pattern = Some(long(16 << 20));
        let error = resolver.get_secrets(GetSecretsRequest { pattern }).await;
        let error = error.expect_err("refused");
        assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
        assert!(error.message().len() < 300, "{error}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn patterns_of_one_authorize_request_are_counted() {
    let daemon = start_behaving(&[]).await;
    for client in clients(&daemon) {
        let authorizer = AuthorizerServiceClient::from(client);
        let authorize = async |count: usize| {
            let patterns = (0..count).map(|n| format!("a/{n}")).collect();
            authorizer.authorize(AuthorizeRequest { patterns }).await
        };
        authorize(MAX_AUTHORIZE_PATTERNS).await.expect("allowed");
        for count in [MAX_AUTHORIZE_PATTERNS + 1, 5_000] {
            let error = authorize(count).await.expect_err("too many");
            assert_eq!(error.code(), Code::InvalidArgument, "{error}");
            let text = format!("{count} patterns are too many to authorize at once");
            assert!(error.message().starts_with(&text), "{error}");
        }
        let error = authorize(100_000).await.expect_err("too large");
        assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
    }
    daemon.stop().await;
}

/// A provider of values of so many bytes, in the order of their ids.
fn provider_of_lengths(lengths: &[usize]) -> Script {
    let ids = (0..).map(|number| format!("db/{number:02}"));
    Script {
        pattern: Some("db/**".into()),
        secrets: Some(
            ids.clone()
                .zip(lengths)
                .map(|(id, _)| (id, String::new()))
                .collect(),
        ),
        padding: ids.zip(lengths).map(|(id, len)| (id, *len)).collect(),
        ..Script::default()
    }
}

/// Returns the result of a query for everything: the number of secrets, or the kinds and messages of the failures.
async fn listed(daemon: &TestDaemon) -> Result<usize, Vec<(FailureKind, String)>> {
    let failures = |failures: Vec<ProviderFailure>| {
        let failures = failures.into_iter();
        failures
            .map(|failure| (failure.kind, failure.message))
            .collect()
    };
    match daemon.get("db/*").await {
        Ok(secrets) if secrets.failures.is_empty() => Ok(secrets.envelopes.len()),
        Ok(secrets) => Err(failures(secrets.failures)),
        Err(ResolveError::Uncertain {
            failures: failed, ..
        }) => Err(failures(failed)),
        Err(error) => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn responses_and_values_beyond_their_limits_are_failures_of_their_provider() {
    let (home, config) = home_with(&[("db", 0, provider("value"))]);
    let daemon = TestDaemon::with_config(home, config);
    daemon.wait_for_running(&["db"]).await;
    // The ids, the provider's name and the encoding of eight secrets take the rest of a response at its limit.
    let overhead = 8 * 64;
    let full = [MAX_VALUE_LEN - overhead; 8];
    let too_long = (
        FailureKind::Internal,
        format!("the response has more than {MAX_RESPONSE_LEN} bytes"),
    );
    let too_large = (
        FailureKind::Internal,
        "the response held 1 secrets that exceed the limits".to_owned(),
    );
    for (lengths, expected) in [
        (&full[..], Ok(8)),
        (&[MAX_VALUE_LEN; 8], Err(vec![too_long.clone()])),
        (&[MAX_VALUE_LEN; 12], Err(vec![too_long])),
        (&[MAX_VALUE_LEN], Ok(1)),
        (&[MAX_VALUE_LEN + 1], Err(vec![too_large.clone()])),
        (&[MAX_VALUE_LEN * 5], Err(vec![too_large])),
        // None of them keeps the provider from responding to the next query.
        (&[1, 1], Ok(2)),
    ] {
        daemon.home.change("db", &provider_of_lengths(lengths));
        assert_eq!(listed(&daemon).await, expected, "{} values", lengths.len());
    }
    daemon.stop().await;
}

/// Each limit of a description holds beside the others: 64 patterns of 4 KiB are beyond 8 KiB.
#[tokio::test]
async fn a_realm_at_one_limit_is_within_the_others() {
    let patterns = |count: usize, len: usize| {
        let pattern = move |number| format!("db/{number:02}{}", "a".repeat(len - 5));
        (0..count).map(pattern).collect::<Vec<_>>()
    };
    let encoded_len = |len: usize| MAX_REALM_PATTERNS * (len + 2);
    assert!(encoded_len(120) <= MAX_DESCRIPTION_LEN && encoded_len(127) > MAX_DESCRIPTION_LEN);
    for (count, len, is_accepted) in [
        (MAX_REALM_PATTERNS, 120, true),
        (MAX_REALM_PATTERNS, 127, false),
        (MAX_REALM_PATTERNS + 1, 10, false),
        (1, Pattern::MAX_LEN, true),
        (2, Pattern::MAX_LEN, false),
        // More than the head of a request may have.
        (MAX_REALM_PATTERNS, Pattern::MAX_LEN, false),
    ] {
        let script = Script {
            description: Some(Description {
                patterns: patterns(count, len),
                ..Description::default()
            }),
            ..provider("value")
        };
        let (home, config) = home_with(&[("db", 0, script)]);
        let daemon = TestDaemon::with_config(home, config);
        if is_accepted {
            daemon.wait_for_running(&["db"]).await;
            assert_eq!(daemon.status("db").await.realm.len(), count);
        } else {
            daemon.wait_for("db", RunStatus::RetriesExceeded).await;
        }
        daemon.stop().await;
    }
}

/// The page of the protocol names each limit by its constant.
#[test]
fn the_limits_in_the_documentation_are_those_of_the_constants() {
    let page = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../docs/book/src/reference/protocol.md"
    ));
    let page = page.expect("the page");
    let bytes = |len: usize| match len {
        len if len >= 1 << 20 => format!("{} MiB", len >> 20),
        len if len >= 1 << 10 => format!("{} KiB", len >> 10),
        len => format!("{len} B"),
    };
    let hours = |time: Duration| format!("{} h", time.as_secs() / 3600);
    let concurrency = format!("{MAX_CONCURRENCY}, {DEFAULT_CONCURRENCY} if not given");
    for (names, value) in [
        ("`MAX_REQUEST_LEN`", bytes(MAX_REQUEST_LEN)),
        ("`MAX_WRITE_REQUEST_LEN`", bytes(MAX_WRITE_REQUEST_LEN)),
        ("`MAX_LEN`", bytes(Pattern::MAX_LEN)),
        ("`MAX_COMPONENTS`", Pattern::MAX_COMPONENTS.to_string()),
        (
            "`MAX_AUTHORIZE_PATTERNS`",
            MAX_AUTHORIZE_PATTERNS.to_string(),
        ),
        ("`MAX_NAME_LEN`", bytes(MAX_NAME_LEN)),
        ("`MAX_VERSION_LEN`", bytes(MAX_VERSION_LEN)),
        ("`MAX_REALM_PATTERNS`", MAX_REALM_PATTERNS.to_string()),
        ("`MAX_DESCRIPTION_LEN`", bytes(MAX_DESCRIPTION_LEN)),
        (
            "`MAX_DESCRIPTION_TEXT_LEN`",
            bytes(MAX_DESCRIPTION_TEXT_LEN),
        ),
        ("`MAX_CONCURRENCY`, `DEFAULT_CONCURRENCY`", concurrency),
        ("`MAX_RESPONSE_LEN`", bytes(MAX_RESPONSE_LEN)),
        ("`MAX_ENVELOPES`", MAX_ENVELOPES.to_string()),
        ("`MAX_VALUE_LEN`", bytes(MAX_VALUE_LEN)),
        ("`MAX_METADATA_ENTRIES`", MAX_METADATA_ENTRIES.to_string()),
        ("`MAX_METADATA_LEN`", bytes(MAX_METADATA_LEN)),
        ("`MAX_ERROR_METADATA_LEN`", bytes(MAX_ERROR_METADATA_LEN)),
        ("`MAX_ERROR_MESSAGE_LEN`", bytes(MAX_ERROR_MESSAGE_LEN)),
        ("`MAX_RETRY_AFTER`", hours(MAX_RETRY_AFTER)),
        ("`MAX_REMEDY_LEN`", bytes(MAX_REMEDY_LEN)),
        ("`MAX_FAILURES`", MAX_FAILURES.to_string()),
        ("`MAX_FAILURES_LEN`", bytes(MAX_FAILURES_LEN)),
    ] {
        let row = format!(" | {value} | {names} | ");
        assert!(page.contains(&row), "no row with {row:?}");
    }
}

#[tokio::test]
async fn failed_requests_write_a_bounded_number_of_lines() {
    let log = Log::capture();
    let daemon = start_behaving(&[("fails", Behaviour::Fail)]).await;
    for _ in 0..300 {
        daemon.get("fails/x").await.expect_err("failed");
    }
    let lines = log.with("request failed");
    // A burst of ten, and one each five seconds.
    assert!((10..20).contains(&lines.len()), "{} lines", lines.len());
    assert_eq!(daemon.status("fails").await.failures(), 300);
    daemon.stop().await;
}

#[tokio::test]
async fn connections_that_never_register_are_counted_and_write_few_lines() {
    let log = Log::capture();
    let home = Home::new(PLUGIN);
    let mut config = home.config();
    config.start_timeout = Duration::from_millis(500);
    let daemon = TestDaemon::with_config(home.into(), config);
    let mut silent = Vec::new();
    for _ in 0..64 {
        silent.push(hijack(daemon.address()).await.expect("upgraded"));
    }
    let refused = hijack(daemon.address()).await.expect_err("one too many");
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    // They end by themselves, and others may connect.
    eventually("a connection to be upgraded", async || {
        hijack(daemon.address()).await.map(drop)
    })
    .await;
    let lines = log.with("external plugin not accepted");
    assert!(lines.len() < 20, "{} lines", lines.len());
    drop(silent);
    daemon.stop().await;
}

/// Clients that stay connected leave descriptors for the plugins, whatever the limit of open files.
#[tokio::test]
async fn idle_clients_leave_descriptors_for_a_plugin_that_restarts() {
    let home = Arc::new(Home::new(PLUGIN));
    home.play("db", &provider("value"));
    let wrapper = ["sh", "-c", "ulimit -n 96; exec \"$0\" \"$@\""];
    let uid = rustix::process::geteuid().as_raw();
    let daemon = DaemonProcess::start(DAEMON, Arc::clone(&home), &wrapper, uid);
    daemon.wait_for("ok", "get", ID).await;
    let client = Client::new(DaemonSocket::at(daemon.address()));
    let plugins = ManagementServiceClient::from(client).list_plugins(ListPluginsRequest {});
    let plugins = plugins.await.expect("a list").into_message().plugins;
    let pid = Pid::from_raw(plugins[0].pid()).expect("a process");
    let idle: Vec<UnixStream> = (0..200)
        .map(|_| UnixStream::connect(home.socket()).expect("connected"))
        .collect();
    kill_process(pid, Signal::KILL).expect("killed");
    home.wait_for_events("db", "registered", 2).await;
    daemon.wait_for("ok", "get", ID).await;
    let log = daemon.log();
    // A crowd may arrive faster than those whose place it takes are closed. No plugin notices that.
    let short = log
        .lines()
        .filter(|line| line.contains("Too many open files"));
    assert!(
        short
            .clone()
            .all(|line| line.contains("accepting a connection failed")),
        "{log}"
    );
    assert!(short.count() < 5, "{log}");
    drop(idle);
}
