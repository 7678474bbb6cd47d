//! Reports of changed secrets against the kept responses of a plugin.

use std::time::Duration;

use keyway_http::Exchange;
use keyway_local::MemoryBudget;
use keyway_mux::Connector;
use keyway_rpc::Code;

use super::*;
use crate::model::RequestId;
use crate::plugin::calls::CallContext;
use crate::plugin::flight::Sharing;
use crate::plugin::testing::{Connected, Reply, Script, settings};

const KEEP: Sharing = Sharing {
    share: true,
    keep: Some(Duration::from_secs(60)),
};

async fn connected() -> Connected {
    let reply = Reply::Values(vec![("vault/a", "dummy"), ("vault/b", "dummy")]);
    let script = Script::provider("vault", "vault/**", reply);
    script.run(&settings("")).await
}

/// Returns the client with which the plugin reports.
fn host(plugin: &Connected) -> keyway::HostServiceClient<Exchange<Connector>> {
    let exchange = Exchange::new(Connector::new(plugin.script.session()));
    keyway::HostServiceClient::new(exchange)
}

async fn report(plugin: &Connected, patterns: &[&str]) -> Result<(), Error> {
    let patterns = patterns.iter().map(|text| (*text).to_owned()).collect();
    let reported = host(plugin).changed(keyway::ChangedRequest { patterns });
    reported.await.map(drop)
}

async fn get(plugin: &Connected, query: &str) {
    let context = CallContext {
        request_id: RequestId::next(),
        may_ask_user: true,
        limit: Duration::from_secs(60),
    };
    let budget = MemoryBudget::new(1 << 20);
    let (query, reservation) = (query.parse().expect("a pattern"), budget.reservation());
    let handle = plugin.handle();
    let memory = (&reservation, &budget);
    let found = handle.get_shared(&query, &context, context.limit, KEEP, memory);
    found.await.expect("a response");
}

#[tokio::test]
async fn a_changed_secret_is_read_again_and_another_one_is_not() {
    let plugin = connected().await;
    for query in ["vault/a", "vault/b", "vault/a", "vault/b"] {
        get(&plugin, query).await;
    }
    assert_eq!(plugin.script.n_calls(), 2);
    report(&plugin, &["vault/a", "other/**"]).await.expect("ok");
    get(&plugin, "vault/b").await;
    assert_eq!(plugin.script.n_calls(), 2);
    get(&plugin, "vault/a").await;
    assert_eq!(plugin.script.n_calls(), 3);
    // A kept response to a pattern that overlaps is forgotten, too.
    get(&plugin, "vault/*").await;
    report(&plugin, &["vault/b"]).await.expect("ok");
    get(&plugin, "vault/*").await;
    assert_eq!(plugin.script.n_calls(), 5);
    report(&plugin, &[]).await.expect("ok");
    get(&plugin, "vault/a").await;
    assert_eq!(plugin.script.n_calls(), 6);
}

#[tokio::test]
async fn a_call_that_began_before_the_change_is_not_joined_and_not_kept() {
    let plugin = connected().await;
    let slow = Reply::Values(vec![("vault/a", "old")]);
    plugin
        .script
        .set_reply(Reply::After(Duration::from_millis(200), Box::new(slow)));
    let before = get(&plugin, "vault/a");
    let after = async {
        while plugin.script.n_calls() == 0 {
            tokio::task::yield_now().await;
        }
        report(&plugin, &["vault/a"]).await.expect("ok");
        get(&plugin, "vault/a").await;
    };
    tokio::join!(before, after);
    assert_eq!(plugin.script.n_calls(), 2);
}

#[tokio::test]
async fn a_flood_is_refused_and_drops_every_kept_response() {
    let plugin = connected().await;
    get(&plugin, "vault/a").await;
    let mut refused = None;
    for _ in 0..1000 {
        if let Err(error) = report(&plugin, &["other"]).await {
            refused = Some(error);
            break;
        }
    }
    let error = refused.expect("a refusal");
    assert_eq!(error.code(), Code::ResourceExhausted);
    get(&plugin, "vault/a").await;
    assert_eq!(plugin.script.n_calls(), 2);
}

#[tokio::test]
async fn invalid_patterns_are_refused_and_not_repeated() {
    let plugin = connected().await;
    let error = report(&plugin, &["canary//a"]).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(!error.message().contains("canary"), "{error}");
    let error = report(&plugin, &["a"; MAX_CHANGED_PATTERNS + 1]);
    assert_eq!(error.await.unwrap_err().code(), Code::InvalidArgument);
}

#[test]
fn a_plugin_that_has_not_registered_reports_nothing() {
    let error = Notices::new().changed_at(Instant::now(), &[]).unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
}
