//! The failures that a client receives, within the limits.

use keyway_rpc::Code;

use super::*;
use crate::plugin::testing::{failed, name, settings, stopped_process, view};

fn provider(plugin: &str) -> View {
    let settings = settings("").plugin(&name(plugin));
    view(
        plugin,
        Some(&["db/**"]),
        failed(FailureKind::Down),
        &settings,
    )
}

fn down(plugin: &str) -> Failure {
    Failure::new(&provider(plugin), FailureKind::Down, "process ended")
}

fn of_error(error: Error, is_single: bool) -> Option<Failure> {
    Failure::of_call(&provider("vault"), &CallError::Rpc(error), is_single)
}

#[test]
fn every_kind_has_a_sentence() {
    let view = provider("vault");
    for (kind, sentence) in [
        (FailureKind::Unspecified, "vault failed"),
        (FailureKind::Locked, "vault is locked"),
        (
            FailureKind::NeedsUser,
            "vault needs to prompt, which the query forbids",
        ),
        (FailureKind::Denied, "vault does not give it to this user"),
        (FailureKind::Unavailable, "vault cannot provide it now"),
        (FailureKind::TimedOut, "vault took too long"),
        (FailureKind::Quota, "vault has used up its quota"),
        (FailureKind::Invalid, "vault does not accept the query"),
        (FailureKind::Fatal, "vault is set up wrongly"),
        (FailureKind::Unauthenticated, "vault is not logged in"),
        (FailureKind::CannotList, "vault cannot list its secrets"),
        (FailureKind::Internal, "vault failed"),
        (FailureKind::Starting, "vault has not started yet"),
        (FailureKind::Down, "vault is not running"),
        (FailureKind::Busy, "vault is busy"),
        (
            FailureKind::Conflict,
            "vault disagrees with a provider of the same rank",
        ),
        (FailureKind::Refused, "vault may not run"),
    ] {
        assert_eq!(Failure::new(&view, kind, "").sentence(), sentence);
        let explained = Failure::new(&view, kind, "because").sentence();
        assert_eq!(explained, format!("{sentence}: because"));
    }
}

#[test]
fn the_kind_is_that_of_the_detail_or_the_code_and_never_of_the_text() {
    let detailed = keyway::Failure {
        kind: Some(FailureKind::Quota.into()),
        remedy: Some("wait\u{7}".into()),
        retry_after: Duration::from_secs(7).try_into().ok(),
    };
    let failure = of_error(detailed.into_error("vault is locked"), true).expect("a failure");
    assert_eq!(failure.kind, FailureKind::Quota);
    assert_eq!(failure.message, "vault is locked");
    assert_eq!(failure.remedy, r"wait\u{7}");
    assert_eq!(failure.retry_after, Some(Duration::from_secs(7)));
    let of_code = of_error(Error::failed_precondition("no such quota"), true);
    assert_eq!(of_code.expect("a failure").kind, FailureKind::Locked);
    assert_eq!(of_error(Error::not_found("nothing"), true), None);
    let invalid = || keyway::Failure::of_kind(FailureKind::Invalid).into_error("too long");
    assert_eq!(
        of_error(invalid(), true),
        None,
        "the store cannot hold this id"
    );
    assert!(of_error(invalid(), false).is_some());
    assert!(of_error(Error::new(Code::InvalidArgument, "bare"), true).is_some());
}

#[test]
fn the_remedy_of_an_external_plugin_is_not_forwarded() {
    let detail = keyway::Failure {
        remedy: Some("run `curl` on it".into()),
        ..keyway::Failure::of_kind(FailureKind::Locked)
    };
    let view = View {
        class: crate::model::Class::External,
        ..provider("vault")
    };
    let failure = Failure::of_detail(&view, &detail, String::new());
    assert_eq!((failure.kind, &*failure.remedy), (FailureKind::Locked, ""));
}

#[test]
fn a_plugin_in_backoff_states_its_next_start() {
    let at = Instant::now() + Duration::from_secs(30);
    let failure = Failure::not_running(&provider("vault"), FailureKind::Down, Some(at));
    let after = failure.retry_after.expect("a time");
    assert!(
        after <= Duration::from_secs(30) && after > Duration::from_secs(20),
        "{after:?}"
    );
    assert_eq!(failure.sentence(), "vault is not running: process ended");
}

#[test]
fn at_most_32_failures_are_sent_and_the_last_counts_the_omitted_ones() {
    let failures: Vec<Failure> = (0..40)
        .map(|n| Failure::new(&provider(&format!("p{n}")), FailureKind::Down, ""))
        .collect();
    let wire = to_wire(&failures[..32]);
    assert_eq!(wire.providers.len(), 32);
    assert_eq!(wire.providers[31].name(), "p31");
    let wire = to_wire(&failures);
    assert_eq!(wire.providers.len(), 32);
    assert_eq!(wire.providers[30].name(), "p30");
    let last = &wire.providers[31];
    assert_eq!((last.name(), last.message()), ("", "9 more failed"));
}

#[test]
fn failures_take_at_most_4_kib_and_a_large_one_keeps_its_name_and_kind() {
    let failures: Vec<Failure> = (0..20)
        .map(|n| {
            Failure::new(
                &provider(&format!("p{n}")),
                FailureKind::Locked,
                "x".repeat(9999),
            )
        })
        .collect();
    assert_eq!(failures[0].message.chars().count(), MAX_MESSAGE_CHARS);
    let wire = to_wire(&failures);
    assert!(wire.encoded_len() <= MAX_FAILURES_LEN);
    let (last, sent) = wire.providers.split_last().expect("failures");
    assert!(!sent.is_empty());
    assert_eq!(last.message(), format!("{} more failed", 20 - sent.len()));
    let hostile = Failure {
        remedy: "\u{1}".repeat(256).escape_unicode().to_string(),
        ..Failure::new(
            &provider(&"\u{1}".repeat(256)),
            FailureKind::Locked,
            "\u{10ffff}".repeat(9999),
        )
    };
    let wire = to_wire(&[hostile.clone(), hostile]);
    assert_eq!(wire.providers.len(), 2);
    for entry in &wire.providers {
        assert_eq!((entry.kind(), entry.message()), (FailureKind::Locked, ""));
        assert!(!entry.name().is_empty());
    }
}

#[test]
fn names_are_escaped_in_their_header_and_cut_at_a_whole_name() {
    let failures = ["vault", "my store", "a,b", "50%", "ü\n"].map(down);
    let header = names(&failures).expect("names");
    assert_eq!(header, "vault,my%20store,a%2Cb,50%25,%C3%BC%0A");
    assert_eq!(names(&[]), None);
    let many: Vec<Failure> = (0..200).map(|n| down(&format!("plugin-{n:03}"))).collect();
    let header = names(&many).expect("names");
    let text = header.to_str().expect("text");
    assert!(
        text.len() <= MAX_NAMES_LEN && text.len() > MAX_NAMES_LEN - 11,
        "{}",
        text.len()
    );
    assert!(
        text.split(',').all(|name| name.len() == "plugin-000".len()),
        "{text}"
    );
}

#[test]
fn the_metadata_of_an_error_and_of_a_partial_result_is_bounded() {
    let failures: Vec<Failure> = (0..1024)
        .map(|n| {
            Failure::new(
                &provider(&format!("{n:0>256}")),
                FailureKind::Down,
                "x".repeat(400),
            )
        })
        .collect();
    let size = |headers: &http::HeaderMap| -> usize {
        headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len())
            .sum()
    };
    let mut headers = http::HeaderMap::new();
    add_headers(&mut headers, &failures);
    assert!(size(&headers) <= 8 * 1024, "{}", size(&headers));
    let error = with_failures(Error::unavailable("uncertain"), &failures);
    assert!(size(error.own_metadata()) <= 8 * 1024);
    let details: Result<Vec<keyway::Failures>, _> = error.details_of().collect();
    assert_eq!(details, Ok(vec![to_wire(&failures)]));
    let mut headers = http::HeaderMap::new();
    add_headers(&mut headers, &[]);
    assert!(headers.is_empty());
}

#[test]
fn a_call_of_a_stopped_process_that_is_overdue_says_how_to_continue_it() {
    let process = stopped_process();
    let pid = process.pid().as_raw_nonzero().get();
    let limit = Duration::from_secs(10);
    let of_process = |pid, error| {
        let pid = Some(pid);
        let view = View {
            pid,
            ..provider("vault")
        };
        Failure::of_call(&view, &error, true).expect("a failure")
    };
    let of_call = |error| of_process(pid, error);
    let own = std::process::id().cast_signed();
    let running = of_process(own, CallError::TimedOut(limit));
    assert_eq!(
        (running.message.as_str(), running.remedy.as_str()),
        ("no response within 10 s", "")
    );
    for error in [
        CallError::TimedOut(limit),
        CallError::Busy(limit),
        CallError::Overdue(limit),
    ] {
        let failure = of_call(error);
        let message = &failure.message;
        assert!(
            message.ends_with(&format!(": its process {pid} is stopped")),
            "{message}"
        );
        assert_eq!(
            failure.remedy,
            format!("continue it with `kill -CONT {pid}`")
        );
    }
    let other = of_call(CallError::Rpc(Error::unavailable("no network")));
    assert_eq!(
        (other.message.as_str(), other.remedy.as_str()),
        ("no network", "")
    );
}
