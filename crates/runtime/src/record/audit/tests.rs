use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use keyway_local::Credentials;
use keyway_rpc::Code;
use tokio::time::Instant;

use super::*;
use crate::config::AuditFailure;

fn caller() -> Caller {
    let (ours, _theirs) = std::os::unix::net::UnixStream::pair().expect("a socket pair");
    let credentials = Credentials::of_peer(&ours).expect("credentials");
    Caller::new(Arc::new(Peer::identify(ours.as_fd(), credentials, true)))
}

fn configured(path: &Path, on_failure: AuditFailure) -> AuditConfig {
    let mut config = AuditConfig::new(path);
    config.on_failure = on_failure;
    config
}

/// A log whose requests wait for their record.
fn audit(path: &Path) -> Audit {
    Audit::new(Some(configured(path, AuditFailure::Refuse)))
}

/// A log on a disk that hangs.
fn hung(on_failure: AuditFailure) -> Audit {
    let writer = Writer::hung(configured(Path::new("/hung"), on_failure));
    Audit {
        writer: ArcSwapOption::from_pointee(writer),
    }
}

async fn record(audit: &Audit) -> Result<(), Error> {
    let outcome = || Outcome {
        ids: vec!["a/b".into()],
        ..Outcome::ok().about(["a/*".into()])
    };
    audit.record("get", &caller(), outcome).await
}

fn lines(path: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(path).expect("the log");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

#[tokio::test]
async fn each_request_is_one_private_line_of_json() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("below/audit.jsonl");
    let audit = audit(&path);
    for _ in 0..2 {
        record(&audit).await.expect("recorded");
    }
    let lines = lines(&path);
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["patterns"][0], "a/*");
    assert_eq!(lines[0]["ids"][0], "a/b");
    assert_eq!(lines[0]["pid"], std::process::id());
    assert_eq!(
        lines[0]["executable"],
        std::env::current_exe()
            .expect("a path")
            .to_string_lossy()
            .as_ref()
    );
    assert_eq!(
        fs::metadata(&path).expect("the log").permissions().mode() & 0o777,
        0o600
    );
}

#[tokio::test]
async fn a_record_names_the_providers_and_at_most_64_ids() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("audit.jsonl");
    let audit = audit(&path);
    let ids: Vec<String> = (0..70).map(|n| format!("db/{n}")).collect();
    let outcome = Outcome::found(
        ids.iter().map(|id| (id.as_str(), "vault")),
        ["env".to_owned()].into_iter(),
    );
    let vault = "vault".parse().expect("a name");
    audit.plugin("refuse", &vault, None, "another file");
    let recorded = audit.record("list", &caller(), || outcome).await;
    recorded.expect("recorded, and all earlier lines with it");
    let lines = lines(&path);
    assert_eq!(lines[0]["outcome"], "refused");
    assert_eq!(lines[1]["ids"].as_array().map(Vec::len), Some(64));
    assert_eq!(lines[1]["more_ids"], 6);
    assert_eq!(lines[1]["providers"], serde_json::json!(["vault"]));
    assert_eq!(lines[1]["failed"], serde_json::json!(["env"]));
}

#[tokio::test]
async fn without_a_log_no_record_is_made() {
    let audit = Audit::default();
    let caller = caller();
    let recorded = audit.record("get", &caller, || unreachable!("no log"));
    recorded.await.expect("nothing to write");
    audit.stop().await;
}

#[tokio::test]
async fn queued_records_are_written_before_the_daemon_ends_or_uses_another_file() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = |n: u32| directory.path().join(format!("audit-{n}.jsonl"));
    let config = |n| Some(configured(&path(n), AuditFailure::Continue));
    let audit = Audit::new(config(0));
    for n in 1..=3 {
        for _ in 0..100 {
            record(&audit).await.expect("queued");
        }
        audit.stop().await;
        assert_eq!(lines(&path(n - 1)).len(), 101);
        audit.configure(config(n));
    }
}

#[tokio::test]
async fn a_request_that_cannot_be_recorded_is_refused_only_if_configured() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    // A directory cannot be written as a file.
    let path = directory.path();
    let continues = Audit::new(Some(configured(path, AuditFailure::Continue)));
    record(&continues).await.expect("served");
    continues.stop().await;
    let error = record(&audit(path)).await.expect_err("refused");
    assert_eq!(error.code(), Code::Unavailable);
    record(&Audit::new(None)).await.expect("no log, no failure");
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_delays_a_request_that_needs_its_record_by_two_seconds_at_most() {
    let audit = hung(AuditFailure::Refuse);
    let started = Instant::now();
    let error = record(&audit).await.expect_err("refused");
    assert_eq!(error.code(), Code::Unavailable);
    assert_eq!(started.elapsed(), RECORD_LIMIT);
    let started = Instant::now();
    audit.stop().await;
    assert_eq!(started.elapsed(), STOP_LIMIT);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_delays_no_request() {
    for on_failure in [AuditFailure::Continue, AuditFailure::Refuse] {
        let audit = hung(on_failure);
        for len in [1024, 1] {
            for _ in 0..1024 {
                audit.note("get", &caller(), &Outcome::ok().about(["x".repeat(len)]));
            }
        }
        let started = Instant::now();
        let recorded = record(&audit).await;
        assert_eq!(recorded.is_err(), on_failure == AuditFailure::Refuse);
        assert_eq!(started.elapsed(), Duration::ZERO);
    }
}
