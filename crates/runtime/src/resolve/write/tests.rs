//! The plugin that takes a write, the refusals, and the error that a client receives.

use std::time::Duration;

use keyway_proto::keyway::store::v1 as store;
use keyway_proto::keyway::v1::PluginDescription;

use super::*;
use crate::plugin::testing::{
    Connected, Reply, Script, failed as down, name, settings, starting, view,
};
use crate::plugin::{CallContext, Publish as _};

fn id() -> Id {
    "db/password".parse().expect("an id")
}

/// Returns a provider that declares `stores`.
fn store(name: &'static str, pattern: &'static str) -> Script {
    let values = Reply::Values(Vec::new());
    Script::provider(name, pattern, values).described(PluginDescription {
        stores: Some(true),
        ..PluginDescription::default()
    })
}

/// A registry with these plugins.
async fn registry(text: &str, scripts: Vec<Script>) -> (Registry, Vec<Connected>) {
    let (settings, registry) = (settings(text), Registry::new());
    let mut plugins = Vec::new();
    for script in scripts {
        let plugin = script.run(&settings).await;
        registry.publish(plugin.view());
        plugins.push(plugin);
    }
    (registry, plugins)
}

async fn target_of(registry: &Registry, plugin: &str) -> Result<Target, Error> {
    let query = Query::for_tests("db/password");
    target(registry, &query, &id(), &name(plugin)).await
}

#[tokio::test(start_paused = true)]
async fn only_a_running_provider_that_stores_the_id_takes_a_write() {
    let text = "[plugins.limited]\nrealm = 'web/**'";
    let scripts = vec![
        store("file", "**"),
        store("limited", "**"),
        Script::provider("reader", "**", Reply::Values(Vec::new())),
        Script::module("gate", Reply::Never),
    ];
    let (registry, _plugins) = registry(text, scripts).await;
    let settings = settings("").plugin(&name("any"));
    for (plugin, availability) in [
        ("crashed", down(FailureKind::Down)),
        ("disabled", Availability::Excluded),
        ("slow", starting(Duration::from_secs(5))),
    ] {
        registry.publish(view(plugin, Some(&["db/**"]), availability, &settings));
    }
    let target = target_of(&registry, "file").await.expect("a target");
    assert_eq!(target.view.name, name("file"));
    for (plugin, code, message) in [
        ("none", Code::FailedPrecondition, "there is no plugin none"),
        (
            "gate",
            Code::FailedPrecondition,
            "gate does not store secrets",
        ),
        (
            "reader",
            Code::FailedPrecondition,
            "reader does not store secrets",
        ),
        ("disabled", Code::FailedPrecondition, "disabled is disabled"),
        (
            "limited",
            Code::InvalidArgument,
            "db/password is outside the realm of limited, which is web/**",
        ),
        (
            "crashed",
            Code::Unavailable,
            "nothing was written: crashed is not running",
        ),
        (
            "slow",
            Code::Unavailable,
            "nothing was written: slow has not started yet: no registration within 5 s",
        ),
    ] {
        let error = target_of(&registry, plugin).await.expect_err(plugin);
        assert_eq!(error.code(), code, "{plugin}");
        assert!(error.message().starts_with(message), "{}", error.message());
    }
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_registers_as_a_module_while_it_is_waited_for_takes_no_write() {
    let (settings, registry) = (settings(""), Registry::new());
    let module = Script::module("gate", Reply::Never).run(&settings).await;
    let starting = starting(Duration::from_secs(5));
    registry.publish(view("gate", None, starting, &module.view().settings));
    let (target, ()) = tokio::join!(target_of(&registry, "gate"), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        registry.publish(module.view());
    });
    let error = target.expect_err("a module");
    let message = error.message();
    assert!(
        message.starts_with("gate does not store secrets"),
        "{message}"
    );
}

/// Checks a write to `file`, which has the priority 0 here, beside `other`.
async fn check(text: &str, other: Script) -> (Result<(), Error>, Connected) {
    let text = format!("plugins.file.priority = 0\n{text}");
    let (registry, mut plugins) = registry(&text, vec![store("file", "**"), other]).await;
    let query = Query::for_tests("db/password");
    let target = target_of(&registry, "file").await.expect("a target");
    let permit = Permit::for_tests(None);
    let result = check_rank(&registry, &query, &permit, &id(), &target.view).await;
    (result, plugins.pop().expect("the other plugin"))
}

fn holder() -> Script {
    Script::provider("vault", "db/**", Reply::Values(vec![("db/password", "")]))
}

#[tokio::test(start_paused = true)]
async fn a_value_that_a_query_would_not_return_is_refused() {
    for text in ["", "plugins.vault.priority = 1"] {
        let (result, vault) = check(text, holder()).await;
        let error = result.expect_err("outranked or equal");
        assert_eq!(error.code(), Code::FailedPrecondition);
        let refusal = Refusal::of_error(&error).expect("a refusal");
        assert_eq!(refusal.reason(), refusal::Reason::Outranked);
        assert_eq!(refusal.providers, ["vault"]);
        assert_eq!(
            error.message(),
            "db/password would not be returned from file, because vault provides it with a higher or the same rank. \
             Give file a higher `priority`, write to another provider with `--to`, or write nevertheless with `--force`"
        );
        let calls = vault.script.calls();
        assert_eq!(calls.len(), 1);
        assert!(!calls[0].may_ask_user, "the listing may not prompt");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lower_rank_and_a_provider_without_the_id_refuse_nothing() {
    let (result, vault) = check("plugins.vault.priority = -1", holder()).await;
    result.expect("a lower rank does not matter");
    assert_eq!(vault.script.n_calls(), 0);
    let elsewhere = Script::provider("vault", "web/**", Reply::Values(Vec::new()));
    let (result, vault) = check("", elsewhere).await;
    result.expect("another realm");
    assert_eq!(vault.script.n_calls(), 0);
    for reply in [
        Reply::Values(Vec::new()),
        Reply::Error(Error::not_found("nothing")),
    ] {
        let (result, _vault) = check("", Script::provider("vault", "**", reply)).await;
        result.expect("no such id");
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_may_hold_the_id_refuses_as_well() {
    for (reply, kind) in [
        (
            Reply::Error(Error::unimplemented("no list")),
            FailureKind::CannotList,
        ),
        (
            Reply::Error(Error::unavailable("no network")),
            FailureKind::Unavailable,
        ),
        (Reply::Never, FailureKind::TimedOut),
    ] {
        let (result, _vault) = check("", Script::provider("vault", "**", reply)).await;
        let error = result.expect_err("uncertain");
        assert_eq!(error.code(), Code::FailedPrecondition);
        let refusal = Refusal::of_error(&error).expect("a refusal");
        assert_eq!(refusal.providers, ["vault"]);
        let failures = error.detail::<keyway_proto::keyway::v1::Failures>();
        let failures = failures.expect("decodes").expect("failures").providers;
        assert_eq!(failures[0].kind(), kind);
        let message = error.message();
        assert!(
            message
                .starts_with("cannot tell whether db/password would be returned from file: vault "),
            "{message}"
        );
    }
}

/// Returns the error that a client receives if the plugin responds to a write with `error`.
async fn response_to(error: Error, expected: &Expected) -> (Error, Option<Failure>) {
    let script = store("file", "**");
    script.set_reply(Reply::Error(error));
    let (registry, _plugins) = registry("", vec![script]).await;
    let target = target_of(&registry, "file").await.expect("a target");
    let context = CallContext {
        request_id: crate::model::RequestId::next(),
        may_ask_user: true,
        limit: Duration::from_secs(10),
    };
    let request = store::SetRequest::of(&id(), "canary-value".into());
    let error = target
        .handle
        .set(request, &context)
        .await
        .expect_err("fails");
    (
        failed(&target.view, &id(), None, expected, &error),
        failure_to_report(&target.view, expected, &error),
    )
}

#[tokio::test(start_paused = true)]
async fn a_version_that_does_not_fit_reaches_the_client_with_the_current_one() {
    let first = Expected::Version("1".to_owned());
    let of = |current| Refusal::of_version(current).into_error(&first, "no");
    for (sent, expected, code, current, message) in [
        (
            of(Some("3")),
            &Expected::Absent,
            Code::AlreadyExists,
            "3",
            "file has db/password already",
        ),
        (
            of(Some("3")),
            &first,
            Code::FailedPrecondition,
            "3",
            "file has version 3 of db/password, which is not the expected one",
        ),
        (
            of(None),
            &first,
            Code::FailedPrecondition,
            "",
            "file does not have the expected version of db/password",
        ),
        (
            Error::already_exists("there"),
            &Expected::Absent,
            Code::AlreadyExists,
            "",
            "file has db/password already",
        ),
        (
            Error::failed_precondition("another"),
            &first,
            Code::FailedPrecondition,
            "",
            "file does not have the expected version of db/password",
        ),
    ] {
        let (error, failure) = response_to(sent, expected).await;
        assert_eq!((error.code(), error.message()), (code, message));
        let refusal = Refusal::of_error(&error).expect("a refusal");
        assert_eq!(refusal.current_version(), current);
        assert_eq!(failure, None, "the plugin is not at fault");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_write_names_the_provider_and_whether_something_may_have_changed() {
    use keyway_proto::keyway::v1 as keyway;

    let of = |kind| keyway::Failure::of_kind(kind).into_error("in its words");
    for (sent, code, kind, message) in [
        (
            Error::failed_precondition("bare"),
            Code::Unavailable,
            FailureKind::Locked,
            "db/password was not changed: file is locked: bare",
        ),
        (
            of(FailureKind::Denied),
            Code::Unavailable,
            FailureKind::Denied,
            "db/password was not changed: file does not give it to this user: in its words",
        ),
        (
            of(FailureKind::Invalid),
            Code::InvalidArgument,
            FailureKind::Invalid,
            "file cannot store db/password: in its words",
        ),
        (
            of(FailureKind::Internal),
            Code::Unavailable,
            FailureKind::Internal,
            "it is not known whether db/password was changed: file failed: in its words",
        ),
    ] {
        let (error, _) = response_to(sent, &Expected::Any).await;
        assert_eq!((error.code(), error.message()), (code, message));
        let failures = error.detail::<keyway::Failures>();
        let failures = failures.expect("decodes").expect("failures").providers;
        assert_eq!((failures.len(), failures[0].kind()), (1, kind));
    }
    let (error, failure) = response_to(Error::not_found("none"), &Expected::Any).await;
    assert_eq!(error.code(), Code::NotFound);
    assert_eq!(error.message(), "file has no secret db/password");
    assert_eq!(failure, None);
}

#[tokio::test(start_paused = true)]
async fn a_write_forgets_the_responses_that_the_daemon_keeps_of_the_plugin() {
    use crate::plugin::Sharing;

    let script = store("vault", "**");
    script.set_reply(Reply::Values(vec![("db/password", "old")]));
    let (registry, plugins) = registry("", vec![script]).await;
    let target = target_of(&registry, "vault").await.expect("a target");
    let query = Query::for_tests("db/password");
    let context = CallContext {
        request_id: query.request_id,
        may_ask_user: true,
        limit: Duration::from_secs(10),
    };
    let sharing = Sharing {
        share: true,
        keep: Some(Duration::from_secs(600)),
    };
    let read = async || {
        let memory = (&query.reservation, &*query.budget);
        let limit = context.limit;
        let shared = target
            .handle
            .get_shared(&query.pattern, &context, limit, sharing, memory);
        let secrets = shared.await.expect("a value");
        secrets.envelopes[0].value().to_vec()
    };
    assert_eq!(read().await, b"old");
    plugins[0]
        .script
        .set_reply(Reply::Values(vec![("db/password", "new")]));
    assert_eq!(read().await, b"old", "kept");
    let request = store::SetRequest::of(&id(), "canary-value".into());
    target.handle.set(request, &context).await.expect("stored");
    assert_eq!(read().await, b"new");
}

/// Sends a write of the value `canary-value` to `file`, while `meanwhile` happens.
async fn send_while(
    registry: &Registry,
    meanwhile: impl Future<Output = ()>,
) -> Result<Sent<store::SetResponse>, Error> {
    let (query, id, name) = (Query::for_tests("db/password"), id(), name("file"));
    let request = store::SetRequest::of(&id, "canary-value".into());
    let set =
        async |handle: &Handle, message, context: &CallContext| handle.set(message, context).await;
    let sent = send(registry, &query, (&id, &name), None, request, set);
    let (sent, ()) = tokio::join!(sent, meanwhile);
    sent
}

#[tokio::test(start_paused = true)]
async fn a_write_that_a_replaced_process_takes_no_more_goes_to_its_successor() {
    let (registry, former) = registry("", vec![store("file", "**")]).await;
    let settings = settings("");
    let successor = store("file", "**").run(&settings).await;
    former[0].script.go_away();
    let is_starting = starting(Duration::from_secs(5));
    let sent = send_while(&registry, async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        registry.publish(view(
            "file",
            Some(&["**"]),
            is_starting,
            &settings.plugin(&name("file")),
        ));
        tokio::time::sleep(Duration::from_secs(1)).await;
        registry.publish(successor.view());
    })
    .await;
    let stored = sent.expect("sent").result.expect("stored");
    assert_eq!(stored.version(), "7");
    assert_eq!(
        (former[0].script.n_calls(), successor.script.n_calls()),
        (0, 1)
    );
    // Without a successor nothing was written.
    successor.script.go_away();
    let is_down = down(FailureKind::Down);
    let sent = send_while(&registry, async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        registry.publish(view(
            "file",
            Some(&["**"]),
            is_down,
            &settings.plugin(&name("file")),
        ));
    })
    .await;
    let error = sent.expect_err("there is no process");
    assert_eq!(
        error.message(),
        "nothing was written: file is not running: process ended"
    );
}

#[tokio::test(start_paused = true)]
async fn a_write_that_was_sent_is_never_repeated() {
    let script = store("file", "**");
    script.set_reply(Reply::Never);
    let (registry, mut plugins) = registry("", vec![script]).await;
    let settings = settings("");
    let successor = store("file", "**").run(&settings).await;
    let former = plugins.pop().expect("it runs");
    let sent = send_while(&registry, async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(former.script.n_calls(), 1);
        drop(former);
        registry.publish(successor.view());
    })
    .await;
    let sent = sent.expect("sent");
    let error = sent.result.expect_err("no response");
    let error = failed(&sent.view, &id(), None, &Expected::Any, &error);
    let message = error.message();
    assert!(
        message.starts_with("it is not known whether db/password was changed: file failed: "),
        "{message}"
    );
    assert_eq!(successor.script.n_calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_was_sent_late_may_have_changed_something() {
    let settings = settings("").plugin(&name("file"));
    let view = view("file", Some(&["**"]), down(FailureKind::Down), &settings);
    let limit = Duration::from_secs(10);
    for (error, kind, message) in [
        (
            CallError::Busy(limit),
            FailureKind::Busy,
            "db/password was not changed: file is busy: no free call slot for 10 s",
        ),
        (
            CallError::Overdue(limit),
            FailureKind::TimedOut,
            "it is not known whether db/password was changed: file took too long: \
             no response within 10 s, most of which the call waited for a free slot",
        ),
    ] {
        let error = failed(&view, &id(), None, &Expected::Any, &error);
        assert_eq!(error.message(), message);
        let failures = error.detail::<keyway_proto::keyway::v1::Failures>();
        let failures = failures.expect("decodes").expect("failures").providers;
        assert_eq!(failures[0].kind(), kind);
    }
}
