//! Which modules are consulted, waited for or missing, over a registry of scripted plugins.

use std::time::Duration;

use keyway_local::Process;
use keyway_proto::accesscontrol::v1::Decision;
use keyway_proto::keyway::v1::FailureKind;
use keyway_rpc::Code;
use keyway_secrets::Pattern;
use rustix::process::{getpid, getuid};

use super::*;
use crate::caller::Peer;
use crate::plugin::Publish as _;
use crate::plugin::testing::{
    Reply, Script, failed, name, settings, starting, stopped_process, view,
};

const LISTED: &str = "access.modules = ['policy']";

fn caller() -> Caller {
    let process = Process::new(getpid(), None);
    Caller::new(Arc::new(Peer::of_process(process, getuid().as_raw())))
}

async fn consult_about(
    registry: &Registry,
    settings: &Settings,
    consultation: &Consultation,
    except: Option<&str>,
) -> Result<(), Error> {
    let (caller, except) = (caller(), except.map(name));
    consult(registry, settings, &caller, consultation, except.as_ref())
        .await
        .map(drop)
}

fn check(pattern: &str) -> Consultation {
    Consultation::CheckAccess(vec![pattern.parse().expect("a pattern")])
}

async fn consult_about_one(registry: &Registry, settings: &Settings) -> Result<(), Error> {
    consult_about(registry, settings, &check("db/password"), None).await
}

/// The module `policy` without a process.
fn module(availability: Availability, settings: &Settings) -> View {
    View {
        kind: Some(Kind::AccessControl),
        realm: None,
        ..view(
            "policy",
            None,
            availability,
            &settings.plugin(&name("policy")),
        )
    }
}

fn unknown(plugin: &str, availability: Availability, settings: &Settings) -> View {
    view(plugin, None, availability, &settings.plugin(&name(plugin)))
}

#[tokio::test]
async fn a_listed_module_that_is_not_running_denies_everything() {
    let settings = settings(LISTED);
    let provider = |availability| {
        let policy = settings.plugin(&name("policy"));
        view("policy", Some(&["**"]), availability, &policy)
    };
    for (view, why) in [
        (None, "there is no such plugin"),
        (
            Some(module(failed(FailureKind::Down), &settings)),
            "process ended",
        ),
        (
            Some(module(failed(FailureKind::Refused), &settings)),
            "process ended",
        ),
        (
            Some(module(Availability::Excluded, &settings)),
            "process ended",
        ),
        (
            Some(unknown("policy", failed(FailureKind::Down), &settings)),
            "process ended",
        ),
        (
            Some(provider(failed(FailureKind::Down))),
            "the plugin is a secrets provider",
        ),
    ] {
        let registry = Registry::new();
        if let Some(view) = view {
            registry.publish(view);
        }
        let error = consult_about_one(&registry, &settings)
            .await
            .expect_err("denied");
        assert_eq!(error.code(), Code::PermissionDenied);
        assert_eq!(
            error.message(),
            format!(
                "the access-control module policy must be running and is not: {why}. Repair the module, or remove its name from \
                 `[access] modules` and run `kill -HUP` with the daemon's pid"
            )
        );
    }
}

#[tokio::test]
async fn a_provider_with_the_name_of_a_listed_module_is_not_a_module() {
    let settings = settings(LISTED);
    let registry = Registry::new();
    let provider = Script::provider("policy", "**", Reply::Decide(Decision::Allow));
    let running = provider.run(&settings).await;
    registry.publish(running.view());
    let error = consult_about_one(&registry, &settings)
        .await
        .expect_err("denied");
    assert!(
        error.message().contains("the plugin is a secrets provider"),
        "{error}"
    );
    assert_eq!(running.script.n_calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_running_module_decides_whether_it_is_listed_or_not() {
    for text in [LISTED, ""] {
        let settings = settings(text);
        let registry = Registry::new();
        let script = Script::module("policy", Reply::Decide(Decision::Allow));
        let running = script.clone().run(&settings).await;
        registry.publish(running.view());
        consult_about_one(&registry, &settings)
            .await
            .expect("allowed");
        assert_eq!(script.calls()[0].pattern, "db/password");
        for (reply, message) in [
            (
                Reply::Decide(Decision::Deny),
                "the access-control module policy denies this. Ask the administrator of policy, or change what it allows",
            ),
            (
                Reply::Error(Error::internal("no rules")),
                "the access-control module policy gave no decision: no rules. Run `keyway plugins` to see its state, and look at the daemon's log",
            ),
            (
                Reply::Never,
                "the access-control module policy gave no decision: no response within 10 s. Run `keyway plugins` to see its state, and look at the daemon's log",
            ),
        ] {
            script.set_reply(reply);
            let error = consult_about_one(&registry, &settings)
                .await
                .expect_err("denied");
            assert_eq!(
                (error.code(), error.message()),
                (Code::PermissionDenied, message)
            );
        }
    }
}

#[tokio::test]
async fn several_patterns_are_checked_one_by_one_and_authorized_together() {
    let settings = settings("");
    let registry = Registry::new();
    let script = Script::module("policy", Reply::Decide(Decision::Allow));
    let running = script.clone().run(&settings).await;
    registry.publish(running.view());
    let patterns: Vec<Pattern> = ["a/*", "b"]
        .map(|text| text.parse().expect("a pattern"))
        .into();
    for consultation in [
        Consultation::CheckAccess(patterns.clone()),
        Consultation::Authorize(patterns),
    ] {
        consult_about(&registry, &settings, &consultation, None)
            .await
            .expect("allowed");
    }
    let consulted: Vec<String> = script
        .calls()
        .into_iter()
        .map(|call| call.pattern)
        .collect();
    assert_eq!(consulted, ["a/*", "b", "a/* b"]);
}

#[tokio::test(start_paused = true)]
async fn a_starting_module_is_waited_for_until_its_start_is_overdue() {
    for (text, view_of) in [
        (LISTED, module as fn(Availability, &Settings) -> View),
        (LISTED, |availability, settings| {
            unknown("policy", availability, settings)
        }),
        ("", module),
        ("", |availability, settings| {
            unknown("policy", availability, settings)
        }),
    ] {
        let settings = settings(text);
        let registry = Registry::new();
        let script = Script::module("policy", Reply::Decide(Decision::Allow));
        let running = script.clone().run(&settings).await;
        registry.publish(view_of(starting(Duration::from_secs(5)), &settings));
        let began = Instant::now();
        let register = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            registry.publish(running.view());
        };
        let (result, ()) = tokio::join!(consult_about_one(&registry, &settings), register);
        result.expect("allowed");
        assert_eq!(began.elapsed(), Duration::from_secs(2));
        assert_eq!(script.n_calls(), 1);
        // One that does not register in time is missing.
        registry.publish(view_of(starting(Duration::from_secs(5)), &settings));
        let error = consult_about_one(&registry, &settings)
            .await
            .expect_err("denied");
        assert_eq!(error.code(), Code::PermissionDenied);
        assert_eq!(began.elapsed(), Duration::from_secs(7));
    }
}

#[tokio::test(start_paused = true)]
async fn a_plugin_of_unknown_kind_is_waited_for_once() {
    let settings = settings("");
    let registry = Registry::new();
    let script = Script::provider("vault", "vault/**", Reply::Values(Vec::new()));
    let running = script.run(&settings).await;
    registry.publish(unknown(
        "vault",
        starting(Duration::from_secs(5)),
        &settings,
    ));
    let began = Instant::now();
    let register = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        registry.publish(running.view());
    };
    let (result, ()) = tokio::join!(consult_about_one(&registry, &settings), register);
    result.expect("it is a provider");
    assert_eq!(began.elapsed(), Duration::from_secs(1));
    // Neither one that failed nor one whose file failed before holds requests up.
    for availability in [
        failed(FailureKind::Down),
        Availability::Excluded,
        Availability::Starting {
            until: (Instant::now() + Duration::from_secs(5)).into_std(),
            is_awaited: false,
        },
    ] {
        registry.publish(unknown("vault", availability, &settings));
        consult_about_one(&registry, &settings)
            .await
            .expect("not waited for");
    }
    assert_eq!(began.elapsed(), Duration::from_secs(1));
}

#[tokio::test]
async fn an_unlisted_module_denies_from_its_first_registration_until_it_is_disabled_or_forgotten() {
    let settings = settings("");
    let registry = Registry::new();
    registry.publish(module(failed(FailureKind::Down), &settings));
    let error = consult_about_one(&registry, &settings)
        .await
        .expect_err("denied");
    assert_eq!(
        error.message(),
        "the access-control module policy must be running and is not: process ended. Repair the module, or set `enabled = false` in \
         `[plugins.policy]` and run `kill -HUP` with the daemon's pid"
    );
    registry.publish(module(Availability::Excluded, &settings));
    consult_about_one(&registry, &settings)
        .await
        .expect("disabled");
    registry.publish(module(failed(FailureKind::Down), &settings));
    registry.remove(&name("policy"));
    consult_about_one(&registry, &settings)
        .await
        .expect("forgotten");
}

#[tokio::test]
async fn a_module_is_not_consulted_about_its_own_processes() {
    let settings = settings(LISTED);
    let registry = Registry::new();
    let script = Script::module("policy", Reply::Decide(Decision::Deny));
    let running = script.clone().run(&settings).await;
    let consultation = check("db/password");
    for view in [
        running.view(),
        module(failed(FailureKind::Down), &settings),
        module(starting(Duration::from_secs(5)), &settings),
    ] {
        registry.publish(view);
        consult_about(&registry, &settings, &consultation, Some("policy"))
            .await
            .expect("not consulted");
    }
    assert_eq!(script.n_calls(), 0);
    // Another module is.
    let other = Script::module("other", Reply::Decide(Decision::Deny));
    let running = other.clone().run(&settings).await;
    registry.publish(running.view());
    let denied = consult_about(&registry, &settings, &consultation, Some("policy")).await;
    assert_eq!(
        denied.map_err(|error| error.code()),
        Err(Code::PermissionDenied)
    );
}

/// A consultation that a draining process does not take goes to the process that follows, which decides.
#[tokio::test(start_paused = true)]
async fn a_replaced_module_decides_after_its_replacement() {
    for text in [LISTED, ""] {
        let settings = settings(text);
        for (decision, is_allowed) in [(Decision::Allow, true), (Decision::Deny, false)] {
            let registry = Registry::new();
            let former = Script::module("policy", Reply::Decide(Decision::Allow));
            let former = former.run(&settings).await;
            registry.publish(former.view());
            former.script.go_away();
            let successor = Script::module("policy", Reply::Decide(decision));
            let successor = successor.run(&settings).await;
            let patterns = vec!["db/password".parse().expect("a pattern")];
            let consultations = [
                Consultation::CheckAccess(patterns.clone()),
                Consultation::Authorize(patterns),
            ];
            for consultation in consultations {
                registry.publish(former.view());
                let (result, ()) = tokio::join!(
                    consult_about(&registry, &settings, &consultation, None),
                    async {
                        tokio::time::sleep(Duration::from_millis(500)).await;
                        let starting = starting(Duration::from_secs(5));
                        registry.publish(module(starting, &settings));
                        tokio::time::sleep(Duration::from_millis(500)).await;
                        registry.publish(successor.view());
                    }
                );
                assert_eq!(result.is_ok(), is_allowed, "{result:?}");
            }
            assert_eq!(
                (former.script.n_calls(), successor.script.n_calls()),
                (0, 2)
            );
        }
    }
}

/// The module that follows one that drains decides, as for a request that begins then.
#[tokio::test(start_paused = true)]
async fn a_module_that_drains_and_does_not_return_denies_unless_it_is_disabled_or_forgotten() {
    type Follow = fn(&Registry, &Settings);
    let cases: [(&str, Follow, bool); 6] = [
        (
            LISTED,
            |registry, settings| registry.publish(module(failed(FailureKind::Down), settings)),
            false,
        ),
        (
            "",
            |registry, settings| registry.publish(module(failed(FailureKind::Down), settings)),
            false,
        ),
        (
            LISTED,
            |registry, settings| registry.publish(module(Availability::Excluded, settings)),
            false,
        ),
        (
            "",
            |registry, settings| registry.publish(module(Availability::Excluded, settings)),
            true,
        ),
        (
            LISTED,
            |registry, _| registry.remove(&name("policy")),
            false,
        ),
        ("", |registry, _| registry.remove(&name("policy")), true),
    ];
    for (text, follow, is_allowed) in cases {
        let settings = settings(text);
        let registry = Registry::new();
        let policy = Script::module("policy", Reply::Decide(Decision::Allow));
        let policy = policy.run(&settings).await;
        registry.publish(policy.view());
        policy.script.go_away();
        let (result, ()) = tokio::join!(consult_about_one(&registry, &settings), async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            follow(&registry, &settings);
        });
        assert_eq!(result.is_ok(), is_allowed, "{text} {result:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_denial_of_a_module_that_is_stopped_says_how_to_continue_it() {
    let (settings, registry) = (settings(LISTED), Registry::new());
    let policy = Script::module("policy", Reply::Never).run(&settings).await;
    let process = stopped_process();
    let pid = process.pid().as_raw_nonzero().get();
    registry.publish(View {
        pid: Some(pid),
        ..policy.view()
    });
    let error = consult_about_one(&registry, &settings).await;
    assert_eq!(
        error.expect_err("no decision").message(),
        format!(
            "the access-control module policy gave no decision: no response within 10 s: its process {pid} is stopped. \
             Continue it with `kill -CONT {pid}`"
        )
    );
}
