//! The response that a client receives: codes, messages, order, limits.

use std::sync::Arc;

use keyway_proto::FAILED_PROVIDERS_HEADER;
use keyway_proto::keyway::v1 as keyway;

use super::*;
use crate::plugin::testing::{envelope, failed, name, settings, view};
use crate::plugin::{Availability, View};
use crate::registry::Snapshot;

/// Providers, each with its response.
struct Case {
    text: &'static str,
    views: Vec<View>,
    admitted: Vec<(&'static str, Admitted)>,
}

impl Case {
    fn new(text: &'static str) -> Self {
        Self {
            text,
            views: Vec::new(),
            admitted: Vec::new(),
        }
    }

    fn provider(mut self, plugin: &'static str, pattern: &str, admitted: Admitted) -> Self {
        self.views.push(self.view(plugin, pattern));
        self.admitted.push((plugin, admitted));
        self
    }

    fn excluded(mut self, plugin: &'static str) -> Self {
        let view = View {
            availability: Availability::Excluded,
            ..self.view(plugin, "**")
        };
        self.views.push(view);
        self
    }

    fn view(&self, plugin: &str, pattern: &str) -> View {
        let settings = settings(self.text).plugin(&name(plugin));
        let down = failed(FailureKind::Down);
        View {
            state: keyway::PluginState::Disabled,
            ..view(plugin, Some(&[pattern]), down, &settings)
        }
    }

    fn evaluate(self, query: &str) -> Option<Result<Resolution, Error>> {
        let query: Pattern = query.parse().expect("a pattern");
        let views = self.views.into_iter();
        let snapshot: Snapshot = views
            .map(|view| (view.name.clone(), Arc::new(view)))
            .collect();
        let plan = Plan::new(&snapshot, &query, None);
        let sent = |plugin: &str| {
            let mut candidates = plan.candidates.iter();
            candidates
                .find(|candidate| candidate.view.name.as_str() == plugin)
                .map_or(query.clone(), |candidate| candidate.query.clone())
        };
        let mut responses: Responses = self
            .admitted
            .into_iter()
            .map(|(plugin, admitted)| (name(plugin), (sent(plugin), admitted)))
            .collect();
        evaluate(&query, &plan, &mut responses)
    }

    fn error(self, query: &str) -> Error {
        let result = self.evaluate(query).expect("it is decided");
        result.expect_err("an error")
    }

    fn resolution(self, query: &str) -> Resolution {
        let result = self.evaluate(query).expect("it is decided");
        result.expect("a result")
    }
}

fn values(values: &[(&str, &str)]) -> Admitted {
    let values = values.iter().map(|(id, value)| {
        let id: Id = id.parse().expect("an id");
        let envelope = envelope(id.as_str(), value);
        (id, envelope)
    });
    Admitted {
        values: values.collect(),
        ..Admitted::nothing()
    }
}

fn failing(plugin: &str, kind: FailureKind, message: &str) -> Admitted {
    let view = Case::new("").view(plugin, "db/**");
    Admitted::failed(Failure::new(&view, kind, message))
}

fn failures(error: &Error) -> Vec<(String, FailureKind)> {
    let wire: keyway::Failures = error.detail().expect("valid").expect("the failures");
    wire.providers
        .iter()
        .map(|failure| (failure.name().to_owned(), failure.kind()))
        .collect()
}

fn shown(resolution: &Resolution) -> Vec<(&str, &[u8])> {
    let envelopes = resolution.envelopes.iter();
    envelopes
        .map(|(id, envelope)| (id.as_str(), envelope.value()))
        .collect()
}

#[test]
fn a_failed_provider_makes_an_id_uncertain_with_its_kind_and_the_remedy() {
    let case = Case::new("[plugins.vault]\npriority = 1")
        .provider(
            "vault",
            "db/**",
            failing("vault", FailureKind::Locked, "pass is locked"),
        )
        .provider("old", "**", values(&[("db/password", "former")]));
    let error = case.error("db/password");
    assert_eq!(error.code(), Code::Unavailable);
    assert_eq!(
        error.message(),
        "cannot tell what db/password is: vault is locked: pass is locked. `keyway plugins disable vault` answers without it."
    );
    assert_eq!(failures(&error), [("vault".into(), FailureKind::Locked)]);
    assert_eq!(error.own_metadata()[FAILED_PROVIDERS_HEADER], "vault");
}

#[test]
fn the_remedy_for_a_provider_of_every_id_names_its_realm_as_well() {
    let view = Case::new("").view("vault", "**");
    let admitted = Admitted::failed(Failure::new(&view, FailureKind::Down, "process ended"));
    let error = Case::new("")
        .provider("vault", "**", admitted)
        .error("db/password");
    assert_eq!(
        error.message(),
        "cannot tell what db/password is: vault is not running: process ended. `keyway plugins disable vault` answers \
         without it; its realm is `**`, which `[plugins.vault] realm` limits."
    );
}

#[test]
fn failed_providers_are_named_in_rank_order() {
    let case = Case::new("[plugins.z]\npriority = 1")
        .provider("a", "db/**", failing("a", FailureKind::Down, ""))
        .provider("b", "db/**", failing("b", FailureKind::Denied, ""))
        .provider("z", "db/**", failing("z", FailureKind::TimedOut, ""));
    let error = case.error("db/*");
    let named: Vec<String> = failures(&error).into_iter().map(|(name, _)| name).collect();
    assert_eq!(named, ["z", "a", "b"]);
    assert_eq!(
        error.message(),
        "cannot tell what db/* is: z took too long; a is not running; b does not give it to this user. \
         `keyway plugins disable z` answers without it. `keyway plugins disable a` answers without it. \
         `keyway plugins disable b` answers without it."
    );
    // For one id the highest rank alone counts.
    let case = Case::new("[plugins.z]\npriority = 1")
        .provider("a", "db/**", failing("a", FailureKind::Down, ""))
        .provider("z", "db/**", failing("z", FailureKind::TimedOut, ""));
    assert_eq!(
        failures(&case.error("db/password")),
        [("z".into(), FailureKind::TimedOut)]
    );
}

#[test]
fn different_values_of_equal_rank_are_a_conflict_and_equal_ones_are_not() {
    let case = |other| {
        Case::new("")
            .provider("b", "**", values(&[("db/password", "one")]))
            .provider("a", "db/**", values(&[("db/password", other)]))
    };
    let resolution = case("one").resolution("db/password");
    assert_eq!(shown(&resolution), [("db/password", &b"one"[..])]);
    let error = case("two").error("db/password");
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert_eq!(
        error.message(),
        "db/password has different values at a and at b, which are of equal rank. Give one of them a higher `priority`"
    );
    assert_eq!(
        failures(&error),
        [
            ("a".into(), FailureKind::Conflict),
            ("b".into(), FailureKind::Conflict)
        ]
    );
    let error = case("two").error("db/*");
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert_eq!(
        error.message(),
        "providers of equal rank return different values for db/*: a disagrees with a provider of the same rank: about \
         db/password; b disagrees with a provider of the same rank: about db/password. Give one of them a higher `priority`"
    );
}

#[test]
fn not_found_names_the_excluded_plugins_only() {
    let error = Case::new("")
        .provider("a", "**", Admitted::nothing())
        .error("db/password");
    assert_eq!(error.code(), Code::NotFound);
    assert_eq!(
        error.message(),
        "no provider has a secret that matches db/password"
    );
    assert!(error.details().is_empty() && error.own_metadata().is_empty());
    let error = Case::new("")
        .provider("a", "**", Admitted::nothing())
        .excluded("vault")
        .excluded("pass")
        .error("db/*");
    assert_eq!(error.code(), Code::NotFound);
    assert_eq!(
        error.message(),
        "no provider has a secret that matches db/*; pass is disabled, vault is disabled"
    );
}

#[test]
fn a_partial_result_omits_ids_that_are_uncertain_or_in_conflict() {
    let expired = Admitted {
        gap: Gap::Ids(["db/c".parse().expect("an id")].into()),
        failure: Some(Failure::new(
            &Case::new("").view("a", "**"),
            FailureKind::Unavailable,
            "the value of db/c expired",
        )),
        ..values(&[("db/a", "1"), ("db/b", "1"), ("web/a", "1")])
    };
    let case = Case::new("").provider("a", "**", expired).provider(
        "b",
        "db/**",
        values(&[("db/b", "2"), ("db/c", "2"), ("db/d", "2")]),
    );
    let resolution = case.resolution("**");
    assert_eq!(
        shown(&resolution),
        [("db/a", &b"1"[..]), ("db/d", b"2"), ("web/a", b"1")],
        "in the order of ids"
    );
    let failures: Vec<String> = resolution.failures.iter().map(Failure::sentence).collect();
    assert_eq!(
        failures,
        [
            "a cannot provide it now: the value of db/c expired",
            "a disagrees with a provider of the same rank: about db/b",
            "b disagrees with a provider of the same rank: about db/b",
        ]
    );
}

#[test]
fn a_provider_that_cannot_list_makes_the_ids_of_its_realm_uncertain_for_equal_and_lower_ranks() {
    let case = Case::new("")
        .provider("a", "db/**", failing("a", FailureKind::CannotList, ""))
        .provider("b", "**", values(&[("db/x", "1"), ("web/x", "1")]));
    let resolution = case.resolution("**");
    assert_eq!(shown(&resolution), [("web/x", &b"1"[..])]);
    assert_eq!(resolution.failures[0].kind, FailureKind::CannotList);
}

#[test]
fn a_failed_required_provider_fails_a_pattern() {
    let case = Case::new("[plugins.a]\nrequired = true")
        .provider("a", "db/**", failing("a", FailureKind::Down, ""))
        .provider("b", "**", values(&[("web/x", "1")]));
    let error = case.error("**");
    assert_eq!(
        (error.code(), failures(&error).len()),
        (Code::Unavailable, 1)
    );
}

#[test]
fn reserved_ids_are_never_returned() {
    let stored = values(&[("keyway/write/a", "1"), ("keyway/other/a", "1")]);
    let resolution = Case::new("")
        .provider("a", "**", stored)
        .resolution("keyway/**");
    assert_eq!(shown(&resolution), [("keyway/other/a", &b"1"[..])]);
}

#[test]
fn a_candidate_that_was_not_called_leaves_the_result_open() {
    let case = || {
        let mut case = Case::new("[plugins.b]\npriority = -5")
            .provider("a", "**", values(&[("db/x", "1")]))
            .provider("b", "**", Admitted::nothing());
        case.admitted.retain(|(plugin, _)| *plugin == "a");
        case
    };
    assert!(case().evaluate("db/*").is_none());
    assert!(case().evaluate("db/y").is_none());
    // A lower rank does not matter.
    assert_eq!(shown(&case().resolution("db/x")), [("db/x", &b"1"[..])]);
}

#[test]
fn a_response_to_another_query_does_not_count() {
    let snapshot = |realm: &'static str| -> Snapshot {
        let settings = settings(realm).plugin(&name("a"));
        let view = view("a", Some(&["**"]), failed(FailureKind::Down), &settings);
        [(view.name.clone(), Arc::new(view))].into()
    };
    let query: Pattern = "db/**".parse().expect("a pattern");
    let before = Plan::new(&snapshot("[plugins.a]\nrealm = 'db/a/**'"), &query, None);
    let sent = before.candidates[0].query.clone();
    let mut responses: Responses = [(name("a"), (sent, values(&[("db/a/x", "1")])))].into();
    assert!(evaluate(&query, &before, &mut responses.clone()).is_some());
    let after = Plan::new(&snapshot(""), &query, None);
    assert!(
        evaluate(&query, &after, &mut responses).is_none(),
        "its realm is wider by now"
    );
}

#[test]
fn messages_limit_the_listed_providers_and_the_length_of_the_query() {
    let names: Vec<&'static str> = (0..20)
        .map(|n| &*Box::leak(format!("p{n:02}").into_boxed_str()))
        .collect();
    let mut case = Case::new("");
    for name in &names {
        case = case.provider(name, "**", failing(name, FailureKind::Down, ""));
    }
    let query = format!("db/{}", "x".repeat(2000));
    let error = case.error(&query);
    let message = error.message();
    assert!(
        message.starts_with("cannot tell what db/xxx") && message.len() < 2000,
        "{message}"
    );
    assert!(
        message.contains("p07 is not running; 12 more. "),
        "{message}"
    );
    assert!(!message.contains("p08"), "{message}");
    assert_eq!(failures(&error).len(), 20, "the details name them all");
}
