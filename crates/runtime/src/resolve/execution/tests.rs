//! Queries over scripted plugins, in paused time.

use keyway_proto::keyway::v1::{Failure as WireFailure, Failures, PluginDescription};
use keyway_rpc::{Code, Error};

use super::*;
use crate::authority::Permit;
use crate::config::Current;
use crate::plugin::Publish as _;
use crate::plugin::testing::{
    Connected, Reply, Script, failed, generation, name, settings, starting, view,
};
use crate::resolve::{Resolution, resolve};

/// A daemon with scripted plugins.
struct Daemon {
    registry: Registry,
    settings: Current,
    plugins: Vec<Connected>,
    began: Instant,
}

impl Daemon {
    fn new(text: &str) -> Self {
        Self {
            registry: Registry::new(),
            settings: Current::new(settings(text)),
            plugins: Vec::new(),
            began: Instant::now(),
        }
    }

    /// Connects a plugin and publishes it.
    async fn run(&mut self, script: &Script) {
        let connected = script.clone().run(&self.settings.load()).await;
        self.registry.publish(connected.view());
        self.plugins.push(connected);
    }

    /// Publishes a plugin without a connection.
    fn publish(&self, plugin: &str, patterns: Option<&[&str]>, availability: Availability) {
        let settings = self.settings.load().plugin(&name(plugin));
        let view = view(plugin, patterns, availability, &settings);
        self.registry.publish(view);
    }

    /// Puts other settings into force, as a reload does.
    fn reload(&self, text: &str) {
        let settings = Arc::new(generation(text, self.settings.generation() + 1));
        self.registry.apply(&settings);
        self.settings.store(settings);
    }

    async fn resolve(&self, query: &Query) -> Result<Resolution, Error> {
        let permit = Permit::for_tests(None);
        resolve(&self.registry, &self.settings, query, &permit).await
    }

    /// The value of an id.
    async fn get(&self, id: &str) -> Result<String, Error> {
        let mut resolution = self.resolve(&query(id)).await?;
        let (_, envelope) = resolution.envelopes.pop().expect("an envelope");
        Ok(String::from_utf8_lossy(envelope.value()).into_owned())
    }

    /// The kinds of the failures of an id.
    async fn kinds(&self, query: &Query) -> Vec<FailureKind> {
        let error = self.resolve(query).await.expect_err("an error");
        assert_eq!(error.code(), Code::Unavailable, "{error}");
        kinds(&error)
    }

    fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

fn kinds(error: &Error) -> Vec<FailureKind> {
    let failures: Option<Failures> = error.detail().expect("valid");
    let failures = failures.unwrap_or_default();
    failures.providers.iter().map(|one| one.kind()).collect()
}

fn query(pattern: &str) -> Query {
    Query::for_tests(pattern)
}

fn without_prompts(pattern: &str) -> Query {
    Query {
        may_ask_user: false,
        ..query(pattern)
    }
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Returns a value for `db/x` after a while.
fn slow(seconds: u64, value: &'static str) -> Reply {
    Reply::After(
        secs(seconds),
        Box::new(Reply::Values(vec![("db/x", value)])),
    )
}

fn interactive(name: &'static str, reply: Reply) -> Script {
    Script::provider(name, "db/**", reply).described(PluginDescription {
        interactive: Some(true),
        ..PluginDescription::default()
    })
}

#[tokio::test(start_paused = true)]
async fn a_query_ends_as_soon_as_it_is_decided() {
    let mut daemon = Daemon::new("[plugins.first]\npriority = 1");
    let first = Script::provider("first", "**", slow(1, "right"));
    let second = Script::provider("second", "**", Reply::Never);
    daemon.run(&first).await;
    daemon.run(&second).await;
    daemon.publish("third", Some(&["**"]), starting(secs(60)));
    let began = daemon.elapsed();
    assert_eq!(daemon.get("db/x").await.expect("a value"), "right");
    assert_eq!(
        daemon.elapsed() - began,
        secs(1),
        "lower ranks are not waited for"
    );
    assert_eq!(second.n_calls(), 1, "and were called at the same time");
    // A failure of the higher rank is final as soon as it is known.
    first.set_reply(Reply::Error(Error::unavailable("no network")));
    assert_eq!(
        daemon.kinds(&query("db/x")).await,
        [FailureKind::Unavailable]
    );
    assert_eq!(daemon.elapsed() - began, secs(1));
    // Nothing of the higher rank makes the lower one decide, within its own limit.
    first.set_reply(Reply::Values(Vec::new()));
    assert_eq!(daemon.kinds(&query("db/x")).await, [FailureKind::TimedOut]);
    assert_eq!(daemon.elapsed() - began, secs(11));
}

#[tokio::test(start_paused = true)]
async fn a_slow_provider_of_the_highest_rank_is_never_replaced_by_a_lower_one() {
    let mut daemon = Daemon::new("[plugins.first]\npriority = 1\ntimeout = '2s'");
    let first = Script::provider("first", "**", Reply::Never);
    daemon.run(&first).await;
    daemon
        .run(&Script::provider("second", "**", slow(0, "wrong")))
        .await;
    assert_eq!(daemon.kinds(&query("db/x")).await, [FailureKind::TimedOut]);
    // A caller that waits for less gets the same kind earlier.
    let short_deadline = Query {
        deadline: Some(Instant::now() + secs(1)),
        ..query("db/x")
    };
    let began = daemon.elapsed();
    assert_eq!(daemon.kinds(&short_deadline).await, [FailureKind::TimedOut]);
    assert_eq!(daemon.elapsed() - began, secs(1));
}

#[tokio::test(start_paused = true)]
async fn an_interactive_provider_is_called_only_if_no_higher_rank_holds_the_id() {
    let mut daemon = Daemon::new("");
    let quiet = Script::provider("quiet", "**", slow(1, "quiet"));
    let prompting = interactive("prompting", slow(0, "prompted"));
    daemon.run(&quiet).await;
    daemon.run(&prompting).await;
    assert_eq!(daemon.get("db/x").await.expect("a value"), "quiet");
    quiet.set_reply(Reply::Error(Error::unavailable("no network")));
    assert_eq!(
        daemon.kinds(&query("db/x")).await,
        [FailureKind::Unavailable]
    );
    assert_eq!(
        prompting.n_calls(),
        0,
        "neither beside a value nor beside a failure"
    );
    quiet.set_reply(Reply::Values(Vec::new()));
    assert_eq!(daemon.get("db/x").await.expect("a value"), "prompted");
    assert!(prompting.calls()[0].may_ask_user);
    // For a pattern it is called with the others, prompts forbidden.
    daemon.resolve(&query("db/*")).await.expect("a value");
    assert!(!prompting.calls()[1].may_ask_user);
    daemon
        .resolve(&without_prompts("db/x"))
        .await
        .expect("a value");
    assert!(!prompting.calls()[2].may_ask_user);
}

#[tokio::test(start_paused = true)]
async fn an_interactive_provider_has_the_user_timeout_only_if_prompts_are_allowed() {
    let mut daemon = Daemon::new("");
    let prompting = interactive("prompting", slow(60, "prompted"));
    daemon.run(&prompting).await;
    assert_eq!(daemon.get("db/x").await.expect("a value"), "prompted");
    let began = daemon.elapsed();
    assert_eq!(
        daemon.kinds(&without_prompts("db/x")).await,
        [FailureKind::TimedOut]
    );
    assert_eq!(daemon.elapsed() - began, secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_cannot_forbid_prompts_is_not_called_where_they_are_forbidden() {
    let mut daemon = Daemon::new("[plugins.go]\ninteractive = true");
    let go = Script::provider("go", "db/**", slow(0, "prompted"));
    daemon.run(&go).await;
    for query in [without_prompts("db/x"), query("db/*")] {
        assert_eq!(daemon.kinds(&query).await, [FailureKind::NeedsUser]);
    }
    assert_eq!(go.n_calls(), 0);
    assert_eq!(daemon.get("db/x").await.expect("a value"), "prompted");
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_cannot_list_by_configuration_is_not_called_for_a_pattern() {
    let mut daemon = Daemon::new("[plugins.vault]\nlists = false");
    let vault = Script::provider("vault", "db/**", slow(0, "value"));
    daemon.run(&vault).await;
    assert_eq!(
        daemon.kinds(&query("db/*")).await,
        [FailureKind::CannotList]
    );
    assert_eq!(vault.n_calls(), 0);
    assert_eq!(daemon.get("db/x").await.expect("a value"), "value");
}

#[tokio::test(start_paused = true)]
async fn a_provider_with_a_used_up_quota_is_not_called_before_its_time() {
    let mut daemon = Daemon::new("");
    let used_up = WireFailure {
        retry_after: secs(30).try_into().ok(),
        ..WireFailure::of_kind(FailureKind::Quota)
    };
    let vault = Script::provider(
        "vault",
        "db/**",
        Reply::Error(used_up.into_error("slow down")),
    );
    daemon.run(&vault).await;
    assert_eq!(daemon.kinds(&query("db/x")).await, [FailureKind::Quota]);
    tokio::time::advance(secs(10)).await;
    vault.set_reply(slow(0, "value"));
    let error = daemon.resolve(&query("db/x")).await.expect_err("an error");
    assert_eq!(kinds(&error), [FailureKind::Quota]);
    let detail: Failures = error.detail().expect("valid").expect("failures");
    let after = detail.providers[0].retry_after.expect("a time");
    assert_eq!(after.seconds, 20, "{after:?}");
    assert_eq!(vault.n_calls(), 1);
    tokio::time::advance(secs(20)).await;
    assert_eq!(daemon.get("db/x").await.expect("a value"), "value");
}

#[tokio::test(start_paused = true)]
async fn a_provider_with_all_its_calls_in_flight_is_busy() {
    let mut daemon = Daemon::new("[plugins.vault]\nconcurrency = 1\ntimeout = '3s'");
    let vault = Script::provider("vault", "db/**", Reply::Never);
    daemon.run(&vault).await;
    let first_query = query("db/x");
    let (first, second) = tokio::join!(daemon.kinds(&first_query), async {
        tokio::time::sleep(secs(1)).await;
        let short_deadline = Query {
            deadline: Some(Instant::now() + secs(1)),
            ..query("db/y")
        };
        daemon.kinds(&short_deadline).await
    });
    assert_eq!(first, [FailureKind::TimedOut]);
    assert_eq!(second, [FailureKind::Busy]);
    assert_eq!(vault.n_calls(), 1);
}

/// A call waits for a permit of a process that is replaced meanwhile.
#[tokio::test(start_paused = true)]
async fn a_call_that_a_replaced_process_takes_no_more_goes_to_its_successor() {
    let mut daemon = Daemon::new("[plugins.vault]\nconcurrency = 1");
    let former = Script::provider("vault", "db/**", slow(1, "value"));
    daemon.run(&former).await;
    let successor = Script::provider("vault", "db/**", slow(0, "value"));
    let successor = successor.run(&daemon.settings.load()).await;
    let former_connection = daemon.plugins.pop().expect("it runs");
    let began = daemon.elapsed();
    let (first, second, ()) = tokio::join!(daemon.get("db/x"), daemon.get("db/x"), async {
        tokio::time::sleep(millis(500)).await;
        former.go_away();
        daemon.publish("vault", Some(&["db/**"]), starting(secs(5)));
        tokio::time::sleep(millis(1500)).await;
        daemon.registry.publish(successor.view());
    });
    assert_eq!(first.expect("a response of the former process"), "value");
    assert_eq!(second.expect("a response of the next process"), "value");
    assert_eq!((former.n_calls(), successor.script.n_calls()), (1, 1));
    assert_eq!(daemon.elapsed() - began, secs(2));
    // Without a successor it is the failure of the state that follows.
    drop(former_connection);
    daemon.registry.publish(successor.view());
    successor.script.go_away();
    let (kinds, ()) = tokio::join!(async { daemon.kinds(&query("db/x")).await }, async {
        tokio::time::sleep(secs(1)).await;
        daemon.publish("vault", Some(&["db/**"]), failed(FailureKind::Down));
    });
    assert_eq!(kinds, [FailureKind::Down]);
    assert_eq!(daemon.elapsed() - began, secs(3));
}

/// A call in flight at a plugin that the user disables decides the query if it gets a response, and not if it fails.
#[tokio::test(start_paused = true)]
async fn a_query_in_flight_is_resolved_without_a_plugin_that_is_disabled_meanwhile() {
    let mut daemon = Daemon::new("[plugins.first]\npriority = 1");
    let first = Script::provider("first", "**", Reply::Never);
    daemon.run(&first).await;
    daemon
        .run(&Script::provider("second", "**", slow(0, "second")))
        .await;
    let disabled_after = async |reply: Reply| {
        daemon.registry.publish(daemon.plugins[0].view());
        first.set_reply(reply);
        tokio::time::sleep(secs(1)).await;
        daemon.publish("first", Some(&["**"]), Availability::Excluded);
    };
    let responded = disabled_after(slow(2, "first"));
    let (value, ()) = tokio::join!(daemon.get("db/x"), responded);
    assert_eq!(value.expect("a value"), "first");
    for reply in [
        Reply::After(secs(2), Box::new(Reply::Error(Error::internal("ended")))),
        Reply::Never,
    ] {
        let (value, ()) = tokio::join!(daemon.get("db/x"), disabled_after(reply.clone()));
        assert_eq!(value.expect("a value"), "second");
        let pattern = query("db/*");
        let (result, ()) = tokio::join!(daemon.resolve(&pattern), disabled_after(reply));
        let result = result.expect("a value");
        assert!(result.failures.is_empty(), "{:?}", result.failures);
        assert_eq!(result.envelopes[0].1.value(), b"second");
    }
    // Without another provider the error says that it is disabled.
    daemon.registry.remove(&name("second"));
    let (value, ()) = tokio::join!(daemon.get("db/x"), disabled_after(Reply::Never));
    let error = value.expect_err("not found");
    assert_eq!(error.code(), Code::NotFound);
    assert!(error.message().contains("first is disabled"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_starting_plugin_is_waited_for_until_it_registers_fails_or_is_overdue() {
    for patterns in [Some(&["db/**"][..]), None] {
        let mut daemon = Daemon::new("[plugins.vault]\npriority = 1");
        daemon
            .run(&Script::provider("old", "**", slow(0, "wrong")))
            .await;
        let vault = Script::provider("vault", "db/**", slow(0, "right"));
        let running = vault.clone().run(&daemon.settings.load()).await;
        daemon.publish("vault", patterns, starting(secs(5)));
        let began = daemon.elapsed();
        let (value, ()) = tokio::join!(daemon.get("db/x"), async {
            tokio::time::sleep(secs(2)).await;
            daemon.registry.publish(running.view());
        });
        assert_eq!(value.expect("a value"), "right");
        assert_eq!(daemon.elapsed() - began, secs(2));
        // The start fails.
        daemon.publish("vault", Some(&["db/**"]), starting(secs(5)));
        let first_query = query("db/x");
        let (kinds, ()) = tokio::join!(daemon.kinds(&first_query), async {
            tokio::time::sleep(secs(1)).await;
            daemon.publish("vault", Some(&["db/**"]), failed(FailureKind::Down));
        });
        assert_eq!(kinds, [FailureKind::Down]);
        // The start is overdue.
        daemon.publish("vault", patterns, starting(secs(5)));
        assert_eq!(daemon.kinds(&query("db/x")).await, [FailureKind::Starting]);
        assert_eq!(daemon.elapsed() - began, secs(8));
        // The deadline of the caller comes first.
        let short_deadline = Query {
            deadline: Some(Instant::now() + secs(1)),
            ..query("db/x")
        };
        daemon.publish("vault", patterns, starting(secs(5)));
        assert_eq!(daemon.kinds(&short_deadline).await, [FailureKind::Starting]);
        assert_eq!(daemon.elapsed() - began, secs(9));
    }
}

#[tokio::test(start_paused = true)]
async fn a_plugin_of_unknown_realm_that_registers_for_other_ids_or_disappears_is_not_a_candidate() {
    let mut daemon = Daemon::new("[plugins.vault]\npriority = 1");
    daemon
        .run(&Script::provider("old", "**", slow(0, "right")))
        .await;
    let vault = Script::provider("vault", "web/**", Reply::Never);
    let running = vault.clone().run(&daemon.settings.load()).await;
    daemon.publish("vault", None, starting(secs(5)));
    let (value, ()) = tokio::join!(daemon.get("db/x"), async {
        tokio::time::sleep(secs(2)).await;
        daemon.registry.publish(running.view());
    });
    assert_eq!(value.expect("a value"), "right");
    assert_eq!(vault.n_calls(), 0);
    for end in [
        Some(failed(FailureKind::Down)),
        Some(Availability::Excluded),
        None,
    ] {
        daemon.publish("vault", None, starting(secs(5)));
        let (value, ()) = tokio::join!(daemon.get("db/x"), async {
            tokio::time::sleep(secs(1)).await;
            match end {
                Some(end) => daemon.publish("vault", None, end),
                None => daemon.registry.remove(&name("vault")),
            }
        });
        assert_eq!(value.expect("a value"), "right");
    }
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_registers_as_interactive_moves_behind_the_others() {
    let mut daemon = Daemon::new("");
    let prompting = interactive("a-prompting", slow(0, "prompted"));
    let quiet = Script::provider("quiet", "**", slow(3, "quiet"));
    daemon.run(&quiet).await;
    let running = prompting.clone().run(&daemon.settings.load()).await;
    daemon.publish("a-prompting", None, starting(secs(5)));
    let (value, ()) = tokio::join!(daemon.get("db/x"), async {
        tokio::time::sleep(secs(1)).await;
        daemon.registry.publish(running.view());
    });
    assert_eq!(value.expect("a value"), "quiet");
    assert_eq!(prompting.n_calls(), 0, "no prompt");
}

#[tokio::test(start_paused = true)]
async fn a_failed_plugin_fails_at_once_with_the_time_of_its_next_start() {
    let daemon = Daemon::new("");
    let next_start = Some(std::time::Instant::now() + secs(30));
    let kind = FailureKind::Down;
    daemon.publish(
        "vault",
        Some(&["db/**"]),
        Availability::Failed { kind, next_start },
    );
    let error = daemon.resolve(&query("db/x")).await.expect_err("an error");
    let detail: Failures = error.detail().expect("valid").expect("failures");
    assert_eq!(detail.providers[0].kind(), FailureKind::Down);
    assert!(detail.providers[0].retry_after.is_some());
    assert_eq!(daemon.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_incomplete_response_counts_for_the_ids_that_it_holds() {
    let mut daemon = Daemon::new("[plugins.vault]\npriority = 1");
    let reply = Reply::Incomplete(vec![("db/x", "new")], FailureKind::Locked);
    daemon.run(&Script::provider("vault", "db/**", reply)).await;
    let both = Reply::Values(vec![("db/x", "old"), ("db/y", "old"), ("web/x", "old")]);
    daemon.run(&Script::provider("old", "**", both)).await;
    let resolution = daemon.resolve(&query("**")).await.expect("a result");
    let shown: Vec<(&str, &str)> = resolution
        .envelopes
        .iter()
        .map(|(id, envelope)| (id.as_str(), envelope.provider()))
        .collect();
    assert_eq!(shown, [("db/x", "vault"), ("web/x", "old")]);
    assert_eq!(resolution.failures[0].kind, FailureKind::Locked);
}

#[tokio::test(start_paused = true)]
async fn failures_are_counted_and_the_last_one_is_kept() {
    let mut daemon = Daemon::new("");
    let vault = Script::provider(
        "vault",
        "db/**",
        Reply::Error(Error::unavailable("no network")),
    );
    daemon.run(&vault).await;
    daemon.kinds(&query("db/x")).await;
    let view = daemon.registry.snapshot()[&name("vault")].clone();
    assert_eq!((view.record.n_requests(), view.record.n_failures()), (1, 1));
    let last = view.record.last_failure().expect("a failure");
    assert_eq!(last.kind, FailureKind::Unavailable);
    assert_eq!(last.message, "vault cannot provide it now: no network");
}

/// A query that is on its way for two seconds, with a reload after one.
async fn across_reload(daemon: &Daemon, text: &str) -> Result<String, Error> {
    let (value, ()) = tokio::join!(daemon.get("db/x"), async {
        tokio::time::sleep(secs(1)).await;
        daemon.reload(text);
    });
    value
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_narrows_a_realm_applies_to_an_outstanding_response() {
    let mut daemon = Daemon::new("");
    let vault = Script::provider("vault", "**", slow(2, "value"));
    daemon.run(&vault).await;
    let error = across_reload(&daemon, "[plugins.vault]\nrealm = 'web/**'").await;
    assert_eq!(error.expect_err("not in its realm").code(), Code::NotFound);
    assert_eq!(vault.n_calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_changes_nothing_for_the_query_costs_no_further_call() {
    let mut daemon = Daemon::new("");
    let vault = Script::provider("vault", "**", slow(2, "value"));
    daemon.run(&vault).await;
    let value = across_reload(&daemon, "[plugins.other]\npriority = 7").await;
    assert_eq!(
        (value.expect("a value"), vault.n_calls()),
        ("value".into(), 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_raises_a_priority_decides_by_the_new_rank() {
    let mut daemon = Daemon::new("[plugins.first]\npriority = 1");
    daemon
        .run(&Script::provider("first", "**", slow(2, "first")))
        .await;
    // It has responded when the first one does; its response is used.
    let other = Script::provider("other", "**", slow(0, "other"));
    daemon.run(&other).await;
    let value = across_reload(&daemon, "[plugins.other]\npriority = 9").await;
    assert_eq!(
        (value.expect("a value"), other.n_calls()),
        ("other".into(), 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_names_a_candidate_which_was_not_called_starts_the_query_again() {
    let mut daemon = Daemon::new("[plugins.other]\nrealm = 'web/**'");
    let first = Script::provider("first", "**", slow(2, "first"));
    daemon.run(&first).await;
    let other = Script::provider("other", "**", slow(0, "other"));
    daemon.run(&other).await;
    let value = across_reload(&daemon, "[plugins.other]\npriority = 9").await;
    assert_eq!(value.expect("a value"), "other");
    assert_eq!((first.n_calls(), other.n_calls()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_second_reload_that_leaves_the_query_open_makes_it_unavailable() {
    let with_realms = |first: &str, second: &str| {
        format!(
            "[plugins.b]\npriority = 1\nrealm = '{first}'\n[plugins.c]\npriority = 2\nrealm = '{second}'"
        )
    };
    let mut daemon = Daemon::new(&with_realms("web/**", "web/**"));
    for name in ["a", "b", "c"] {
        daemon
            .run(&Script::provider(name, "**", slow(2, "value")))
            .await;
    }
    let (value, ()) = tokio::join!(daemon.get("db/x"), async {
        tokio::time::sleep(secs(1)).await;
        daemon.reload(&with_realms("db/**", "web/**"));
        tokio::time::sleep(secs(2)).await;
        daemon.reload(&with_realms("db/**", "db/**"));
    });
    let error = value.expect_err("an error");
    assert_eq!(error.code(), Code::Unavailable);
    assert_eq!(
        error.message(),
        "the configuration changed twice while the query was resolved: try again"
    );
}

#[tokio::test(start_paused = true)]
async fn a_plugin_is_not_a_candidate_for_queries_of_its_own_processes() {
    let mut daemon = Daemon::new("");
    let vault = Script::provider("vault", "**", slow(0, "value"));
    daemon.run(&vault).await;
    let own = name("vault");
    let result = resolve(
        &daemon.registry,
        &daemon.settings,
        &query("db/x"),
        &Permit::for_tests(Some(&own)),
    )
    .await;
    assert_eq!(result.expect_err("nothing").code(), Code::NotFound);
    assert_eq!(vault.n_calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn no_provider_is_called_for_a_reserved_id() {
    let mut daemon = Daemon::new("");
    let vault = Script::provider(
        "vault",
        "**",
        Reply::Values(vec![("keyway/write/a", "value")]),
    );
    daemon.run(&vault).await;
    let error = daemon
        .resolve(&query("keyway/write/a"))
        .await
        .expect_err("reserved");
    assert_eq!(
        error.message(),
        "keyway/write/a is reserved for access control"
    );
    assert_eq!(vault.n_calls(), 0);
}

/// A value of `len` bytes.
fn large(len: usize) -> &'static str {
    "x".repeat(len).leak()
}

#[tokio::test(start_paused = true)]
async fn responses_that_never_fit_into_the_memory_together_are_resource_exhausted() {
    let mut daemon = Daemon::new("");
    let value = large(600 << 10);
    for (plugin, pattern, id) in [("one", "one/**", "one/x"), ("two", "two/**", "two/x")] {
        let reply = Reply::Values(vec![(id, value)]);
        daemon.run(&Script::provider(plugin, pattern, reply)).await;
    }
    for id in ["one/x", "two/x"] {
        assert_eq!(daemon.get(id).await.expect("a value"), value);
    }
    let error = daemon.resolve(&query("**")).await.expect_err("an error");
    assert_eq!(error.code(), Code::ResourceExhausted);
    assert_eq!(kinds(&error), [FailureKind::Busy]);
    let text = error.message();
    assert!(
        text.starts_with("the responses to ** do not fit into the daemon's memory for them: ")
            && text.contains(" bytes of memory, and `answer_memory` has 1048576 bytes"),
        "{text}"
    );
    let alone = Reply::Values(vec![("big/x", large(2 << 20))]);
    daemon.run(&Script::provider("big", "big/**", alone)).await;
    let error = daemon.get("big/x").await.expect_err("an error");
    assert_eq!(error.code(), Code::ResourceExhausted);
    assert!(error.message().contains("big is busy: "), "{error}");
    // Its response is not needed for other ids.
    assert_eq!(daemon.get("one/x").await.expect("a value"), value);
}

#[tokio::test(start_paused = true)]
async fn a_response_waits_for_the_memory_of_another_query() {
    let mut daemon = Daemon::new("");
    let reply = Reply::Values(vec![("db/x", large(600 << 10))]);
    daemon.run(&Script::provider("db", "db/**", reply)).await;
    let (first, second) = (query("db/x"), query("db/x"));
    let second = Query {
        reservation: first.budget.reservation(),
        budget: Arc::clone(&first.budget),
        ..second
    };
    daemon.resolve(&first).await.expect("a value");
    let kinds = daemon.kinds(&second).await;
    assert_eq!(kinds, [FailureKind::Busy]);
    let freed = async {
        tokio::time::sleep(secs(1)).await;
        drop(first);
    };
    let (resolved, ()) = tokio::join!(daemon.resolve(&second), freed);
    resolved.expect("a value");
}

/// A plugin resets a response of which nothing is read for half a minute, so the query has to fail before that, with the reason.
#[tokio::test(start_paused = true)]
async fn a_response_waits_for_memory_for_no_longer_than_its_plugin_holds_it() {
    let mut daemon = Daemon::new("[plugins.db]\ntimeout = '5m'");
    let reply = Reply::Values(vec![("db/x", large(600 << 10))]);
    daemon.run(&Script::provider("db", "db/**", reply)).await;
    let first = query("db/x");
    daemon.resolve(&first).await.expect("a value");
    let second = Query {
        reservation: first.budget.reservation(),
        budget: Arc::clone(&first.budget),
        ..query("db/x")
    };
    let began = daemon.elapsed();
    assert_eq!(daemon.kinds(&second).await, [FailureKind::Busy]);
    let waited = daemon.elapsed() - began;
    assert!(waited < secs(30), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_response_of_many_small_secrets_counts_as_it_is_in_memory() {
    let mut daemon = Daemon::new("");
    let ids = (0..1000).map(|n| (format!("db/{n}").leak() as &str, ""));
    let reply = Reply::Values(ids.collect());
    daemon.run(&Script::provider("db", "db/**", reply)).await;
    let query = query("db/*");
    daemon.resolve(&query).await.expect("values");
    let reserved = (1 << 20) - query.budget.available();
    assert!(reserved > 300 << 10, "{reserved} bytes");
}

#[tokio::test(start_paused = true)]
async fn callers_of_a_shared_response_each_count_a_copy() {
    let mut daemon = Daemon::new("");
    let reply = Reply::After(
        secs(1),
        Box::new(Reply::Values(vec![("db/x", large(300 << 10))])),
    );
    let script = Script::provider("db", "db/**", reply).described(PluginDescription {
        shareable: Some(true),
        ..PluginDescription::default()
    });
    daemon.run(&script).await;
    let budget = Arc::clone(&query("db/x").budget);
    let queries: Vec<Query> = (0..3)
        .map(|_| Query {
            reservation: budget.reservation(),
            budget: Arc::clone(&budget),
            ..query("db/x")
        })
        .collect();
    let resolved = futures::future::join_all(queries.iter().map(|query| daemon.resolve(query)));
    let resolved = resolved.await;
    assert!(resolved.iter().all(Result::is_ok), "{resolved:?}");
    assert_eq!(daemon.plugins[0].script.calls().len(), 1);
    assert!(budget.available() < 200 << 10, "{}", budget.available());
    drop((resolved, queries));
    assert_eq!(budget.available(), 1 << 20);
}
