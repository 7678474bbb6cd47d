use std::collections::BTreeSet;

use super::action::Consultation;
use super::authorizer::Provisional;
use super::table::{CallerFacts, Connection, Rules};
use super::*;
use crate::model::PluginName;

fn facts(plugin: Option<&str>) -> CallerFacts {
    CallerFacts {
        user: User::Own,
        is_contained: false,
        connection: Connection::Path,
        plugin: plugin.map(|name| name.parse().expect("a name")),
        is_descendant: false,
    }
}

fn provisional(facts: &CallerFacts, action: &Action<'_>) -> Provisional {
    provisional_within("db/*", facts, action)
}

fn provisional_within(may_resolve: &str, facts: &CallerFacts, action: &Action<'_>) -> Provisional {
    let modules = BTreeSet::new();
    let rules = Rules {
        is_contained_allowed: false,
        is_external_allowed: true,
        may_resolve: vec![may_resolve.parse().expect("a pattern")],
        listed_modules: &modules,
    };
    Provisional::new(facts, action, &rules).expect("permitted")
}

#[tokio::test]
async fn a_permit_is_given_if_the_modules_allow_the_action() {
    let reload = Action::Manage(Manage::Reload);
    let denied = provisional(&facts(None), &reload)
        .consult(async |consultation| {
            let reload = "keyway/manage/reload".parse().expect("a pattern");
            assert_eq!(consultation, &Consultation::CheckAccess(vec![reload]));
            Err("denied")
        })
        .await;
    assert_eq!(denied.expect_err("denied"), "denied");
    let permit = provisional(&facts(None), &reload)
        .consult(async |_| Ok::<(), &str>(()))
        .await
        .expect("allowed");
    assert!(!permit.hides_status());
}

#[tokio::test]
async fn modules_are_not_consulted_where_the_table_decides_alone() {
    let permit = provisional(&facts(None), &Action::Inspect)
        .consult(async |_| Err("consulted"))
        .await
        .expect("allowed");
    assert!(!permit.hides_status() && permit.excluded_plugin().is_none());
}

#[tokio::test]
async fn a_permit_covers_ids_that_are_neither_reserved_nor_beyond_the_limit() {
    let query = ["**".parse().expect("a pattern")];
    let action = Action::Resolve(&query);
    let covers = |permit: &Permit, id: &str| permit.covers(&id.parse().expect("an id"));
    let allow = async |_: &Consultation| Ok::<(), &str>(());
    let own = provisional(&facts(None), &action).consult(allow).await;
    let own = own.expect("allowed");
    assert!(covers(&own, "db/password") && covers(&own, "web/token"));
    assert!(!covers(&own, "keyway/write/db/password"));
    assert_eq!(own.narrow(&query[0]), query[0]);
    let plugin = provisional(&facts(Some("vault")), &action);
    assert_eq!(
        plugin.excluded_plugin().map(PluginName::as_str),
        Some("vault")
    );
    let plugin = plugin.consult(allow).await.expect("allowed");
    assert!(covers(&plugin, "db/password") && !covers(&plugin, "web/token"));
    assert_eq!(plugin.narrow(&query[0]).as_str(), "db/*");
    assert_eq!(
        plugin.excluded_plugin().map(PluginName::as_str),
        Some("vault")
    );
}

#[tokio::test]
async fn a_limit_that_no_pattern_expresses_never_widens_a_permit() {
    let hostile = |motif: &[&str]| {
        let components: Vec<&str> = motif.iter().copied().cycle().take(128).collect();
        components.join("/")
    };
    let (limit, query) = (hostile(&["**", "a"]), hostile(&["**", "b", "**", "a"]));
    let query = [query.parse().expect("a pattern")];
    let action = Action::Resolve(&query);
    let mut consulted = None;
    let permit = provisional_within(&limit, &facts(Some("vault")), &action)
        .consult(async |consultation: &Consultation| {
            consulted = Some(consultation.clone());
            Ok::<(), &str>(())
        })
        .await
        .expect("allowed");
    // Modules decide about the wider query, which matches every id of the narrower one.
    let whole = Consultation::CheckAccess(query.to_vec());
    assert_eq!(consulted, Some(whole));
    assert_eq!(permit.narrow(&query[0]), query[0]);
    let id = |text: String| text.parse().expect("an id");
    assert!(permit.covers(&id(["b/a"; 64].join("/"))));
    assert!(!permit.covers(&id(["b"; 128].join("/"))));
    assert!(!permit.covers(&id(["a"; 63].join("/"))));
}
