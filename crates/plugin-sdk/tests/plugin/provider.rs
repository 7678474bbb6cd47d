//! A provider called by a daemon over an in-memory connection.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use keyway_plugin_sdk::testing::{TestDaemon, TestDaemonBuilder};
use keyway_plugin_sdk::{
    AccessControl, Daemon, Decision, Envelope, ErrorKind, Listed, Pattern, ProviderError, Query,
    Requester, ResultExt, SecretsProvider,
};
use tokio::sync::{Barrier, Semaphore};
use tokio::time::Instant;

/// A provider whose id selects its behaviour.
struct Moody {
    meeting: Arc<Barrier>,
}

impl Moody {
    fn new() -> Self {
        Self {
            meeting: Arc::new(Barrier::new(64)),
        }
    }
}

impl SecretsProvider for Moody {
    fn pattern(&self) -> Pattern {
        "moody/**".parse().unwrap()
    }

    fn version(&self) -> &str {
        "v1.2.3"
    }

    async fn get_secrets(&self, query: &Query) -> Result<Vec<Envelope>, ProviderError> {
        let secret = |id: &str| Envelope::new(id.parse().unwrap(), "canary-value");
        match query.pattern().as_str() {
            "moody/panic" => panic!("canary-value"),
            "moody/hang" => pending().await,
            "moody/locked" => Err(ProviderError::locked("the store is locked")
                .with_remedy("unlock it with `moody unlock`")
                .with_retry_after(Duration::from_secs(2))),
            "moody/foreign" => "\"canary-value\""
                .parse::<u32>()
                .or_internal("cannot parse the store's index")
                .map(|_| vec![]),
            "moody/io" => Err(std::io::Error::other("canary-value"))?,
            "moody/meet" => {
                self.meeting.wait().await;
                Ok(vec![secret("moody/meet")])
            }
            "moody/time" => {
                let left = query.time_left().as_millis().to_string();
                Ok(vec![Envelope::new("moody/time".parse()?, left)])
            }
            _ => Ok(["moody/a", "moody/b/c", "other/a", "moody/a"]
                .map(secret)
                .into()),
        }
    }
}

/// Reserves and returns 2 MiB per response, and records the maximum of concurrent responses.
#[derive(Clone, Default)]
struct Large {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl SecretsProvider for Large {
    fn pattern(&self) -> Pattern {
        Pattern::everything()
    }

    async fn get_secrets(&self, query: &Query) -> Result<Vec<Envelope>, ProviderError> {
        query.reserve(2 << 20).await;
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(100)).await;
        self.now.fetch_sub(1, Ordering::Relaxed);
        Ok(vec![Envelope::new("large".parse()?, vec![b'x'; 2 << 20])])
    }
}

/// A provider that can list.
struct Lister;

impl SecretsProvider for Lister {
    fn pattern(&self) -> Pattern {
        Pattern::everything()
    }

    async fn get_secrets(&self, _: &Query) -> Result<Vec<Envelope>, ProviderError> {
        Ok(vec![])
    }

    async fn list_secrets(&self, _: &Query) -> Result<Vec<Listed>, ProviderError> {
        let mut listed = Listed::new("a/b".parse()?);
        listed.version = "7".to_owned();
        listed.created_at = Some(std::time::UNIX_EPOCH + Duration::from_secs(1));
        listed.metadata.insert("owner".to_owned(), "ann".to_owned());
        Ok(vec![listed, Listed::new("c".parse()?)])
    }
}

async fn moody() -> TestDaemon {
    TestDaemon::start(Moody::new()).await.unwrap()
}

#[tokio::test]
async fn a_plugin_registers_name_version_and_pattern() {
    let daemon = TestDaemon::builder()
        .name("gloom")
        .start(Moody::new())
        .await
        .unwrap();
    let registration = daemon.registration();
    assert_eq!(
        (registration.name.as_str(), registration.version.as_str()),
        ("gloom", "v1.2.3")
    );
    assert_eq!(registration.pattern.as_deref(), Some("moody/**"));
    daemon.stop().await;
}

#[tokio::test]
async fn secrets_that_do_not_match_are_dropped() {
    let daemon = moody().await;
    let ids = async |pattern: &str| -> Vec<String> {
        let found = daemon.get(pattern).await.unwrap();
        found
            .iter()
            .map(|envelope| envelope.id.to_string())
            .collect()
    };
    assert_eq!(ids("moody/*").await, ["moody/a", "moody/a"]);
    assert_eq!(
        ids("**").await,
        ["moody/a", "moody/b/c", "moody/a"],
        "`other/a` is not in its realm"
    );
    daemon.stop().await;
}

#[tokio::test]
async fn an_empty_result_is_not_found() {
    let daemon = moody().await;
    for pattern in ["moody/none", "elsewhere/x"] {
        let error = daemon.get(pattern).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(error.message(), format!("no secret matches `{pattern}`"));
    }
    daemon.stop().await;
}

#[tokio::test]
async fn l17_a_panic_fails_one_call_without_its_message() {
    let daemon = moody().await;
    let error = daemon.get("moody/panic").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(!error.message().contains("canary"), "{error}");
    assert_eq!(daemon.get("moody/a").await.unwrap().len(), 2);
    daemon.stop().await;
}

#[tokio::test]
async fn r06_errors_are_returned_with_kind_and_message() {
    let daemon = moody().await;
    let locked = daemon.get("moody/locked").await.unwrap_err();
    assert_eq!(
        (locked.kind(), locked.message()),
        (ErrorKind::Locked, "the store is locked")
    );
    assert_eq!(locked.remedy(), Some("unlock it with `moody unlock`"));
    assert_eq!(locked.retry_after(), Some(Duration::from_secs(2)));
    let io = daemon.get("moody/io").await.unwrap_err();
    assert_eq!(
        (io.kind(), io.message()),
        (
            ErrorKind::Internal,
            "an input or output operation failed: other error"
        )
    );
    let foreign = daemon.get("moody/foreign").await.unwrap_err();
    assert_eq!(
        (foreign.kind(), foreign.message()),
        (ErrorKind::Internal, "cannot parse the store's index")
    );
    let invalid = daemon.get("a//b").await.unwrap_err();
    assert_eq!(invalid.kind(), ErrorKind::Internal);
    assert!(
        invalid
            .message()
            .starts_with("\"a//b\" is not an id or a pattern: "),
        "{invalid}"
    );
    daemon.stop().await;
}

#[tokio::test(start_paused = true)]
async fn large_responses_wait_for_the_memory_budget() {
    let provider = Large::default();
    let builder = TestDaemon::builder().answer_memory(5 << 20);
    let daemon = builder.start(provider.clone()).await.unwrap();
    let daemon = Arc::new(daemon);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let daemon = Arc::clone(&daemon);
        calls.spawn(async move { daemon.get("large").await.unwrap()[0].value.len() });
    }
    while let Some(length) = calls.join_next().await {
        assert_eq!(length.unwrap(), 2 << 20);
    }
    assert_eq!(provider.most.load(Ordering::Relaxed), 2);
    Arc::into_inner(daemon).unwrap().stop().await;
}

#[tokio::test(start_paused = true)]
async fn l01_l03_a_slow_call_times_out_and_the_plugin_continues() {
    let builder = TestDaemon::builder().request_timeout(Duration::from_secs(3));
    let daemon = builder.start(Moody::new()).await.unwrap();
    let started = Instant::now();
    let error = daemon.get("moody/hang").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert_eq!(error.message(), "the provider did not respond within 3.0 s");
    assert_eq!(started.elapsed().as_secs(), 3);
    let left = daemon.get("moody/time").await.unwrap();
    assert_eq!(left[0].value.expose(), b"3000");
    daemon.stop().await;
}

#[tokio::test]
async fn calls_run_concurrently() {
    let daemon = Arc::new(moody().await);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let daemon = Arc::clone(&daemon);
        calls.spawn(async move { daemon.get("moody/meet").await.unwrap().len() });
    }
    while let Some(found) = calls.join_next().await {
        assert_eq!(found.unwrap(), 1);
    }
    Arc::into_inner(daemon).unwrap().stop().await;
}

#[tokio::test]
async fn a_listing_has_all_fields_except_values() {
    let daemon = TestDaemon::start(Lister).await.unwrap();
    let listed = daemon.list("a/*").await.unwrap();
    assert_eq!(listed.len(), 1, "`c` does not match");
    assert_eq!(
        (listed[0].id.as_str(), listed[0].version.as_str()),
        ("a/b", "7")
    );
    assert_eq!(
        listed[0].created_at,
        Some(std::time::UNIX_EPOCH + Duration::from_secs(1))
    );
    assert_eq!(listed[0].expires_at, None);
    assert_eq!(listed[0].metadata["owner"], "ann");
    daemon.stop().await;
}

#[tokio::test]
async fn a_provider_that_cannot_list_returns_cannot_list() {
    let daemon = moody().await;
    let error = daemon.list("**").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CannotList);
    assert_eq!(error.message(), "this provider cannot list its secrets");
    daemon.stop().await;
}

#[tokio::test]
async fn p02_the_error_of_a_refusal_has_the_daemons_message() {
    let builder = TestDaemonBuilder::default()
        .name("moody")
        .refuse("the realm is taken");
    let error = builder.start(Moody::new()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the daemon refused to register `moody`: the realm is taken (failed_precondition)"
    );
}

/// Returns a value and metadata of the sizes in the id: `VALUE/ENTRIES/BYTES`.
struct Sized;

impl SecretsProvider for Sized {
    fn pattern(&self) -> Pattern {
        Pattern::everything()
    }

    async fn get_secrets(&self, query: &Query) -> Result<Vec<Envelope>, ProviderError> {
        let id = query.require_id()?;
        let sizes: Result<Vec<usize>, _> = id.components().map(str::parse).collect();
        let [value_len, n_entries, entry_len] = sizes?[..] else {
            return Ok(vec![]);
        };
        let mut envelope = Envelope::new(id, vec![b'x'; value_len]);
        envelope.metadata = (0..n_entries)
            .map(|n| (format!("{n:04}"), "v".repeat(entry_len)))
            .collect();
        Ok(vec![envelope])
    }
}

#[tokio::test]
async fn p03_the_test_kit_has_the_refusals_of_a_daemon() {
    let daemon = TestDaemon::start(Sized).await.unwrap();
    for id in ["8388608/0/0", "1/64/1", "1/1/16000"] {
        assert_eq!(daemon.get(id).await.unwrap().len(), 1, "{id}");
    }
    for id in ["8388609/0/0", "1/65/1", "1/1/17000"] {
        let error = daemon.get(id).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal, "{id}");
        assert!(
            error
                .message()
                .starts_with("a daemon refuses 1 of the secrets"),
            "{error}"
        );
    }
    daemon.stop().await;
}

/// Signals when a call starts, and when it is dropped.
struct Watched {
    started: Arc<Semaphore>,
    dropped: Arc<Semaphore>,
}

impl SecretsProvider for Watched {
    fn pattern(&self) -> Pattern {
        Pattern::everything()
    }

    async fn get_secrets(&self, _: &Query) -> Result<Vec<Envelope>, ProviderError> {
        struct Notify(Arc<Semaphore>);
        impl Drop for Notify {
            fn drop(&mut self) {
                self.0.add_permits(1);
            }
        }
        let _notify = Notify(Arc::clone(&self.dropped));
        self.started.add_permits(1);
        pending().await
    }
}

#[tokio::test]
async fn a_cancelled_call_is_dropped() {
    let (started, dropped) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let provider = Watched {
        started: Arc::clone(&started),
        dropped: Arc::clone(&dropped),
    };
    let daemon = TestDaemon::start(provider).await.unwrap();
    tokio::select! {
        result = daemon.get("a") => panic!("the provider never returns: {result:?}"),
        permit = started.acquire() => permit.unwrap().forget(),
    }
    let permit = tokio::time::timeout(Duration::from_secs(10), dropped.acquire()).await;
    permit
        .expect("the provider's future is dropped")
        .unwrap()
        .forget();
    daemon.stop().await;
}

#[tokio::test]
async fn the_sdk_sets_resolved_at() {
    let before = std::time::SystemTime::now();
    let daemon = moody().await;
    let found = daemon.get("moody/b/c").await.unwrap();
    assert!(found[0].resolved_at.unwrap() >= before);
    daemon.stop().await;
}

/// A module that allows one program.
struct OneProgram;

impl AccessControl for OneProgram {
    async fn check_access(
        &self,
        pattern: &Pattern,
        requester: &Requester,
    ) -> Result<Decision, ProviderError> {
        if pattern.as_str() == "fails" {
            return Err(ProviderError::unavailable("the policy server is down"));
        }
        Ok(if requester.name() == "trusted" {
            Decision::Allow
        } else {
            Decision::Deny
        })
    }
}

#[tokio::test]
async fn an_access_control_module_decides() {
    let daemon = TestDaemon::builder()
        .start_access_control(OneProgram)
        .await
        .unwrap();
    assert_eq!(daemon.registration().pattern, None);
    let (trusted, other) = (
        Requester::new(1, "trusted", "/usr/bin/t"),
        Requester::new(2, "o", ""),
    );
    assert_eq!(
        daemon.check_access("a", &trusted).await.unwrap(),
        Decision::Allow
    );
    assert_eq!(
        daemon.check_access("a", &other).await.unwrap(),
        Decision::Deny
    );
    let error = daemon.check_access("fails", &trusted).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::Unavailable, "the policy server is down")
    );
    daemon.stop().await;
}

#[tokio::test(start_paused = true)]
async fn changed_secrets_are_reported_and_changes_of_the_pause_are_one_report() {
    let handle = Daemon::new();
    // The daemon has nothing of a plugin that is not connected.
    handle.changed(&"moody/before".parse().unwrap());
    let started = TestDaemonBuilder::default()
        .daemon(&handle)
        .start(Moody::new());
    let mut daemon = started.await.unwrap();
    // The connection is served by the runtime of this test, so the report waits for it.
    daemon.get("moody/a").await.unwrap();
    handle.changed(&"moody/a".parse().unwrap());
    assert_eq!(daemon.next_change().await, ["moody/a"]);
    let changes = handle.clone();
    std::thread::spawn(move || {
        for id in ["moody/a", "moody/b", "moody/a"] {
            changes.changed(&id.parse().unwrap());
        }
    })
    .join()
    .unwrap();
    assert_eq!(daemon.next_change().await, ["moody/a", "moody/b"]);
    daemon.stop().await;
}
