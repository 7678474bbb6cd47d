//! Membership of a plugin, over every state.

use std::time::Duration;

use keyway_proto::keyway::v1::FailureKind;

use super::*;
use crate::plugin::testing::{failed, name, settings, starting, view};

fn query(text: &str) -> Pattern {
    text.parse().expect("a pattern")
}

fn unawaited() -> Availability {
    match starting(Duration::from_secs(5)) {
        Availability::Starting { until, .. } => Availability::Starting {
            until,
            is_awaited: false,
        },
        other => other,
    }
}

#[tokio::test]
async fn membership_follows_state_realm_and_required() {
    use Membership::{Candidate, Excluded, None};
    let awaited = || starting(Duration::from_secs(5));
    let down = || failed(FailureKind::Down);
    let required = "[plugins.vault]\nrequired = true";
    // The state; with the realm `db/**`; of unknown realm; of unknown realm and required. The query is in the realm.
    for (availability, known, unknown, unknown_required) in [
        (awaited(), Candidate, Candidate, Candidate),
        (unawaited(), Candidate, None, None),
        (down(), Candidate, None, Candidate),
        (failed(FailureKind::Refused), Candidate, None, Candidate),
        (Availability::Excluded, Excluded, Excluded, Excluded),
    ] {
        let member = |text: &str, patterns: Option<&[&str]>, query_text: &str| {
            let settings = settings(text).plugin(&name("vault"));
            let view = view("vault", patterns, availability.clone(), &settings);
            membership(&view, &query(query_text))
        };
        let shown = format!("{availability:?}");
        for query in ["db/password", "db/*", "**"] {
            assert_eq!(member("", Some(&["db/**"]), query), known, "{shown}");
            assert_eq!(member("", Option::None, query), unknown, "{shown}");
            assert_eq!(
                member(required, Option::None, query),
                unknown_required,
                "{shown}"
            );
        }
        // Outside its realm it is nothing, required or not.
        for text in ["", required] {
            assert_eq!(member(text, Some(&["db/**"]), "web/token"), None, "{shown}");
        }
        // The configuration cuts the realm.
        let cut = "[plugins.vault]\nrealm = 'db/a/**'";
        assert_eq!(member(cut, Some(&["db/**"]), "db/a/b"), known, "{shown}");
        assert_eq!(member(cut, Some(&["db/**"]), "db/b"), None, "{shown}");
    }
}

#[test]
fn a_module_is_never_a_candidate() {
    let settings = settings("").plugin(&name("policy"));
    for availability in [failed(FailureKind::Down), Availability::Excluded] {
        let view = View {
            kind: Some(Kind::AccessControl),
            realm: None,
            ..view("policy", None, availability, &settings)
        };
        assert_eq!(membership(&view, &query("**")), Membership::None);
    }
}

#[test]
fn candidates_are_in_rank_order_each_with_its_part_of_the_query() {
    let settings = settings(
        "[plugins.high]\npriority = 5\n[plugins.cut]\nrealm = 'db/a/**'\n[plugins.prompt]\ninteractive = true",
    );
    let down = || failed(FailureKind::Down);
    let of = |plugin: &str, patterns: &[&str], availability| {
        let settings = settings.plugin(&name(plugin));
        (
            name(plugin),
            Arc::new(view(plugin, Some(patterns), availability, &settings)),
        )
    };
    let snapshot: Snapshot = [
        of("prompt", &["**"], down()),
        of("cut", &["db/**"], down()),
        of("file", &["**"], down()),
        of("high", &["db/b/**"], down()),
        of("off", &["db/**"], Availability::Excluded),
        of("own", &["**"], down()),
        of("web", &["web/**"], down()),
    ]
    .into();
    let plan = Plan::new(&snapshot, &query("db/**"), Some(&name("own")));
    let shown: Vec<(&str, &str)> = plan
        .candidates
        .iter()
        .map(|candidate| (candidate.view.name.as_str(), candidate.query.as_str()))
        .collect();
    assert_eq!(
        shown,
        [
            ("high", "db/b/**"),
            ("cut", "db/a/**"),
            ("prompt", "db/**"),
            ("file", "db/**")
        ]
    );
    let excluded: Vec<&str> = plan
        .excluded
        .iter()
        .map(|view| view.name.as_str())
        .collect();
    assert_eq!(excluded, ["off"]);
}
