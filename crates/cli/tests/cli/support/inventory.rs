//! The plugins of the scripted daemon, and how it explains a query.

use std::time::{Duration, SystemTime};

use keyway_proto::keyway::v1::{
    ExplainResponse, ExplainedId, ExplainedProvider, FailedRequest, FailureKind,
    ListPluginsResponse, Outcome, PluginClass, PluginKind, PluginState, PluginStatus,
    ProviderFailure,
};
use keyway_proto::timestamp;

fn plugin(name: &str, rank: u32, state: PluginState, realm: &[&str]) -> PluginStatus {
    PluginStatus {
        name: Some(name.to_owned()),
        version: Some("v0.1.0".to_owned()),
        kind: Some(PluginKind::Provider.into()),
        realm: realm.iter().map(|pattern| (*pattern).to_owned()).collect(),
        rank: Some(rank),
        priority: Some(0),
        class: Some(PluginClass::Launched.into()),
        state: Some(state.into()),
        ..PluginStatus::default()
    }
}

/// One plugin in every state.
pub(super) fn plugins() -> ListPluginsResponse {
    let mut vault = plugin("vault", 1, PluginState::Running, &["vault/**", "kv/*"]);
    vault.priority = Some(10);
    vault.pid = Some(4711);
    vault.requests = Some(12);
    vault.failures = Some(1);
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_370_400);
    vault.last_failed_request = Some(FailedRequest {
        time: Some(timestamp::to_wire(Some(time))),
        kind: Some(FailureKind::TimedOut.into()),
        message: Some("the server did not respond".to_owned()),
    });
    let mut env = plugin("env", 2, PluginState::Refused, &["env/**"]);
    env.message = Some("its executable is not the pinned one".to_owned());
    env.configured_enabled = Some(true);
    let mut pass = plugin("pass", 2, PluginState::Crashed, &["pass/**"]);
    pass.message = Some("ended with status 1: no agent".to_owned());
    pass.restarts = Some(3);
    let mut old = plugin("old", 2, PluginState::Disabled, &["old/**", "nothing/**"]);
    old.configured_enabled = Some(true);
    old.rank = None;
    let mut new = plugin("new", 2, PluginState::Untrusted, &["new/**"]);
    new.rank = None;
    let mut spare = plugin("spare", 2, PluginState::Available, &["spare/**"]);
    spare.rank = None;
    let mut again = plugin("again", 2, PluginState::Running, &["again/**"]);
    again.configured_enabled = Some(false);
    let file = plugin("file", 3, PluginState::Running, &["**"]);
    let mut guard = plugin("guard", 0, PluginState::Running, &[]);
    guard.kind = Some(PluginKind::AccessControl.into());
    guard.class = Some(PluginClass::External.into());
    guard.rank = None;
    let mut absent = plugin("audit", 0, PluginState::Absent, &[]);
    absent.kind = Some(PluginKind::AccessControl.into());
    absent.version = None;
    absent.rank = None;
    let other = |name: &str, state| plugin(name, 2, state, &["x/**"]);
    let plugins = vec![
        vault,
        again,
        env,
        pass,
        other("one", PluginState::Starting),
        other("two", PluginState::Restarting),
        other("three", PluginState::RetriesExceeded),
        other("four", PluginState::Failed),
        file,
        new,
        old,
        spare,
        absent,
        guard,
    ];
    ListPluginsResponse { plugins }
}

fn provider(name: &str, rank: Option<u32>, outcome: Outcome) -> ExplainedProvider {
    ExplainedProvider {
        name: Some(name.to_owned()),
        rank,
        outcome: Some(outcome.into()),
        ..ExplainedProvider::default()
    }
}

/// A pattern of which nothing is certain.
pub(super) fn failing() -> ExplainResponse {
    ExplainResponse {
        failed: vec![ProviderFailure {
            name: Some("pass".to_owned()),
            kind: Some(FailureKind::Locked.into()),
            message: Some("the agent does not run".to_owned()),
            ..ProviderFailure::default()
        }],
        ..ExplainResponse::default()
    }
}

/// Every outcome once.
pub(super) fn explained(id: &str) -> ExplainResponse {
    let mut locked = provider("pass", Some(1), Outcome::Failed);
    locked.kind = Some(FailureKind::Locked.into());
    locked.message = Some("the agent does not run".to_owned());
    let mut value = provider("vault", Some(2), Outcome::Value);
    value.version = Some("3".to_owned());
    let mut off = provider("old", None, Outcome::Excluded);
    off.message = Some("disabled".to_owned());
    let uncertain = ExplainedId {
        id: Some(id.to_owned()),
        outcome: Some(Outcome::Failed.into()),
        providers: vec![locked, value.clone(), off],
        ..ExplainedId::default()
    };
    let certain = ExplainedId {
        id: Some("b".to_owned()),
        outcome: Some(Outcome::Value.into()),
        provider: Some("vault".to_owned()),
        providers: vec![
            provider("pass", Some(1), Outcome::Nothing),
            value,
            provider("file", Some(3), Outcome::NotCalled),
        ],
    };
    let conflict = ExplainedId {
        id: Some("c".to_owned()),
        outcome: Some(Outcome::Conflict.into()),
        providers: vec![
            provider("pass", Some(1), Outcome::Conflict),
            provider("vault", Some(1), Outcome::Conflict),
        ],
        ..ExplainedId::default()
    };
    ExplainResponse {
        ids: vec![uncertain, certain, conflict],
        ..ExplainResponse::default()
    }
}
