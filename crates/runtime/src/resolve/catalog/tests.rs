//! The content of a list, and the providers that it names instead.

use std::time::Duration;

use keyway_rpc::Error;

use super::*;
use crate::plugin::Publish as _;
use crate::plugin::testing::{Reply, Script, failed, name, settings, starting, view};

fn query(pattern: &str) -> Query {
    Query {
        may_ask_user: false,
        ..Query::for_tests(pattern)
    }
}

#[tokio::test(start_paused = true)]
async fn every_provider_lists_its_ids_without_ranking_or_is_named() {
    let settings = settings(
        "[plugins.a]\npriority = 1\nrealm = 'db/**'\n[plugins.mute]\nlists = false\n[plugins.slow]\nrealm = 'db/**'",
    );
    let registry = Registry::new();
    let listed = vec![
        ("db/x", ""),
        ("db/x", ""),
        ("web/x", ""),
        ("not an id", ""),
        ("keyway/write/x", ""),
    ];
    let scripts = [
        Script::provider("a", "**", Reply::Values(listed)),
        Script::provider("b", "**", Reply::Values(vec![("db/x", "")])),
        Script::provider(
            "go",
            "**",
            Reply::Error(Error::unimplemented("no such service")),
        ),
        Script::provider(
            "locked",
            "**",
            Reply::Error(Error::failed_precondition("locked")),
        ),
        Script::provider("mute", "**", Reply::Values(vec![("db/y", "")])),
        Script::provider("nothing", "**", Reply::Error(Error::not_found("nothing"))),
        Script::provider("web", "web/**", Reply::Values(vec![("web/y", "")])),
    ];
    let mut plugins = Vec::new();
    for script in scripts {
        let plugin = script.run(&settings).await;
        registry.publish(plugin.view());
        plugins.push(plugin);
    }
    let without_process = |plugin: &str, availability| {
        let settings = settings.plugin(&name(plugin));
        registry.publish(view(plugin, Some(&["db/**"]), availability, &settings));
    };
    without_process("down", failed(FailureKind::Down));
    without_process("slow", starting(Duration::from_secs(5)));
    let (response, failures) =
        list_secrets(&registry, &query("db/**"), &Permit::for_tests(None)).await;
    let listed: Vec<(&str, &str)> = response
        .secrets
        .iter()
        .map(|secret| (secret.provider(), secret.id()))
        .collect();
    assert_eq!(listed, [("a", "db/x"), ("b", "db/x")]);
    let unlisted: Vec<(&str, Reason, &str)> = response
        .unlisted
        .iter()
        .map(|one| (one.provider(), one.reason(), one.message()))
        .collect();
    assert_eq!(
        unlisted,
        [
            (
                "a",
                Reason::Failed,
                "a failed: the list held 1 ids that are invalid, outside the realm, or exceed the limits"
            ),
            ("down", Reason::Failed, "down is not running: process ended"),
            ("go", Reason::CannotList, ""),
            ("locked", Reason::Failed, "locked is locked: locked"),
            ("mute", Reason::CannotList, ""),
            ("slow", Reason::Failed, "slow has not started yet"),
        ]
    );
    let mut failed: Vec<&str> = failures.iter().map(|one| one.provider.as_str()).collect();
    failed.sort_unstable();
    assert_eq!(failed, ["a", "down", "locked", "slow"]);
    let called = |index: usize| plugins[index].script.calls();
    assert_eq!(called(0)[0].pattern, "db/**");
    assert!(!called(0)[0].may_ask_user, "a list never prompts");
    assert!(called(4).is_empty() && called(6).is_empty());
}

#[tokio::test]
async fn an_incomplete_list_counts_and_its_provider_has_failed_for_the_rest() {
    let settings = settings("");
    let incomplete = |kind| Reply::Incomplete(vec![("db/x", "")], kind);
    for (reply, reason, message, n_failures) in [
        (
            incomplete(FailureKind::Locked),
            Reason::Failed,
            "vault is locked: the list is incomplete",
            1,
        ),
        // A provider that cannot enumerate a part of its ids has not failed, as one that cannot enumerate any.
        (
            incomplete(FailureKind::CannotList),
            Reason::CannotList,
            "",
            0,
        ),
    ] {
        let registry = Registry::new();
        let vault = Script::provider("vault", "**", reply).run(&settings).await;
        registry.publish(vault.view());
        let permit = Permit::for_tests(None);
        let (response, failures) = list_secrets(&registry, &query("db/**"), &permit).await;
        assert_eq!(response.secrets.len(), 1);
        assert_eq!(response.secrets[0].id(), "db/x");
        let [unlisted] = response.unlisted.as_slice() else {
            panic!("{:?}", response.unlisted);
        };
        assert_eq!((unlisted.reason(), unlisted.message()), (reason, message));
        assert_eq!(failures.len(), n_failures);
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_a_replaced_process_does_not_return_comes_from_its_successor() {
    let settings = settings("");
    let registry = Registry::new();
    let reply = Reply::Values(vec![("db/x", "")]);
    let former = Script::provider("vault", "db/**", reply.clone());
    let former = former.run(&settings).await;
    registry.publish(former.view());
    former.script.go_away();
    let successor = Script::provider("vault", "db/**", reply);
    let successor = successor.run(&settings).await;
    let (query, permit) = (query("db/**"), Permit::for_tests(None));
    let vault = settings.plugin(&name("vault"));
    let publish = |availability| {
        registry.publish(view("vault", Some(&["db/**"]), availability, &vault));
    };
    let ((response, failures), ()) =
        tokio::join!(list_secrets(&registry, &query, &permit), async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            publish(starting(Duration::from_secs(5)));
            tokio::time::sleep(Duration::from_millis(500)).await;
            registry.publish(successor.view());
        });
    assert_eq!(response.secrets.len(), 1);
    assert!(response.unlisted.is_empty() && failures.is_empty());
    assert_eq!(
        (former.script.n_calls(), successor.script.n_calls()),
        (0, 1)
    );
    // Without a successor it is the failure of the state that follows, or nothing if the plugin is gone.
    successor.script.go_away();
    let ((_, failures), ()) = tokio::join!(list_secrets(&registry, &query, &permit), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        publish(failed(FailureKind::Down));
    });
    assert_eq!(failures[0].kind, FailureKind::Down);
    registry.publish(successor.view());
    let ((response, failures), ()) =
        tokio::join!(list_secrets(&registry, &query, &permit), async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            registry.remove(&name("vault"));
        });
    assert!(response.unlisted.is_empty() && failures.is_empty());
}
