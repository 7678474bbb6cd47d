//! The row of each provider in an explanation.

use keyway_proto::keyway::v1::FailureKind;

use super::*;
use crate::plugin::testing::{Reply, Script, failed, name, settings, view};
use crate::plugin::{Availability, Publish as _};

fn query(pattern: &str) -> Query {
    Query::for_tests(pattern)
}

fn rows(id: &ExplainedId) -> Vec<(&str, u32, Outcome, FailureKind)> {
    let providers = id.providers.iter();
    providers
        .map(|one| (one.name(), one.rank(), one.outcome(), one.kind()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn each_provider_of_an_id_is_named_with_its_rank_and_outcome() {
    let settings = settings("[plugins.a]\npriority = 2\n[plugins.d]\npriority = -2");
    let registry = Registry::new();
    let a = Script::provider("a", "**", Reply::Values(Vec::new()));
    let b = Script::provider("b", "**", Reply::Values(vec![("db/x", "value")]));
    let d = Script::provider("d", "**", Reply::Never);
    let (a, b, d) = (
        a.run(&settings).await,
        b.run(&settings).await,
        d.run(&settings).await,
    );
    for view in [a.view(), b.view(), d.view()] {
        registry.publish(view);
    }
    let other = |plugin: &str, patterns: &[&str], availability| {
        let settings = settings.plugin(&name(plugin));
        registry.publish(view(plugin, Some(patterns), availability, &settings));
    };
    other("off", &["db/**"], Availability::Excluded);
    other("web", &["web/**"], failed(FailureKind::Down));
    let explained = explain(&registry, &query("db/x"), &Permit::for_tests(None)).await;
    let [id] = explained.ids.as_slice() else {
        panic!("one id: {explained:?}");
    };
    assert_eq!(
        (id.id(), id.outcome(), id.provider()),
        ("db/x", Outcome::Value, "b")
    );
    let none = FailureKind::Unspecified;
    assert_eq!(
        rows(id),
        [
            ("a", 1, Outcome::Nothing, none),
            ("b", 2, Outcome::Value, none),
            ("d", 3, Outcome::NotCalled, none),
            ("off", 0, Outcome::Excluded, none),
        ]
    );
    assert!(
        !format!("{explained:?}").contains("value\""),
        "values are never shown"
    );
}

#[tokio::test(start_paused = true)]
async fn a_pattern_is_explained_by_id_with_conflicts_and_failures() {
    let settings = settings("");
    let registry = Registry::new();
    let a = Script::provider("a", "**", Reply::Values(vec![("db/x", "1"), ("db/y", "1")]));
    let b = Script::provider("b", "**", Reply::Values(vec![("db/x", "2"), ("db/y", "1")]));
    let (a, b) = (a.run(&settings).await, b.run(&settings).await);
    registry.publish(a.view());
    registry.publish(b.view());
    let down = failed(FailureKind::Down);
    let locked = settings.plugin(&name("c"));
    registry.publish(view("c", Some(&["db/y"]), down, &locked));
    let explained = explain(&registry, &query("db/*"), &Permit::for_tests(None)).await;
    let outcomes: Vec<(&str, Outcome)> = explained
        .ids
        .iter()
        .map(|id| (id.id(), id.outcome()))
        .collect();
    assert_eq!(
        outcomes,
        [("db/x", Outcome::Conflict), ("db/y", Outcome::Failed)]
    );
    let none = FailureKind::Unspecified;
    assert_eq!(
        rows(&explained.ids[1]),
        [
            ("a", 1, Outcome::Value, none),
            ("b", 1, Outcome::Value, none),
            ("c", 1, Outcome::Failed, FailureKind::Down),
        ]
    );
    let failed: Vec<&str> = explained.failed.iter().map(|one| one.name()).collect();
    assert_eq!(failed, ["c"]);
}
