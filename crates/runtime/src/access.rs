//! Asking the access-control modules. Whatever goes wrong, the answer is no.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use futures::future::join_all;
use keyway_proto::accesscontrol::v1 as access;
use keyway_proto::timestamp;
use keyway_rpc::Error;
use keyway_secrets::Pattern;
use tokio::time::{Instant, timeout_at};

use crate::engine::Engine;
use crate::identity::Peer;
use crate::name::PluginName;
use crate::plugin::{CallError, Handle};
use crate::registry::{Availability, Entry, Kind};

/// Asks every module whether `caller` may resolve `query`.
///
/// # Errors
///
/// `permission_denied` when a module says no, gives no answer, or is configured and not running.
pub(crate) async fn check(
    engine: &Arc<Engine>,
    caller: &Peer,
    query: &Pattern,
) -> Result<(), Error> {
    let modules = modules(engine).await?;
    if modules.is_empty() {
        return Ok(());
    }
    let message = access::CheckAccessRequest {
        pattern: Some(query.to_string()),
        requester: Some(requester(caller)),
    };
    let answers = join_all(modules.iter().map(|module| {
        let message = message.clone();
        async move {
            let answer = module
                .check_access(message, engine.config().timeout_of(module.name()))
                .await;
            judge(module, answer.map(|answer| answer.decision()))
        }
    }));
    answers.await.into_iter().collect()
}

/// Asks every module ahead of use whether `caller` may resolve all of `patterns`; the answer holds until the time returned.
///
/// # Errors
///
/// As [`check`].
pub(crate) async fn authorize(
    engine: &Arc<Engine>,
    caller: &Peer,
    patterns: &[Pattern],
) -> Result<Option<SystemTime>, Error> {
    let modules = modules(engine).await?;
    let message = access::AuthorizeRequest {
        patterns: patterns.iter().map(ToString::to_string).collect(),
        requester: (!modules.is_empty()).then(|| requester(caller)),
    };
    let answers = join_all(modules.iter().map(|module| {
        let message = message.clone();
        async move {
            let answer = module
                .authorize(message, engine.config().timeout_of(module.name()))
                .await;
            let expires_at = answer
                .as_ref()
                .ok()
                .and_then(|answer| timestamp::from_wire(answer.expires_at).ok().flatten());
            judge(module, answer.map(|answer| answer.decision())).map(|()| expires_at)
        }
    }));
    let expiries: Vec<Option<SystemTime>> = answers.await.into_iter().collect::<Result<_, _>>()?;
    Ok(expiries.into_iter().flatten().min())
}

/// The modules to ask, if all that must be running are: those that configuration lists, and those that the daemon launched and
/// that are not disabled. Waits for one that is just starting.
async fn modules(engine: &Engine) -> Result<Vec<Arc<Handle>>, Error> {
    let mut changes = engine.registry.subscribe();
    let until = Instant::now() + engine.config().start_timeout;
    loop {
        let missing = match running_modules(engine) {
            Ok(modules) => return Ok(modules),
            Err(missing) => missing,
        };
        let is_over = !missing.is_starting || timeout_at(until, changes.changed()).await.is_err();
        if is_over {
            return Err(Error::permission_denied(missing.to_string()));
        }
    }
}

/// A module without which nobody gets anything.
struct Missing {
    name: PluginName,
    is_starting: bool,
    /// What has its name decides about nothing.
    is_provider: bool,
}

impl Missing {
    fn new(name: &PluginName, entry: Option<&Entry>) -> Self {
        Self {
            name: name.clone(),
            is_starting: entry
                .is_some_and(|entry| matches!(entry.availability, Availability::Starting)),
            is_provider: entry.is_some_and(|entry| {
                entry.handle().is_some() && matches!(entry.kind, Some(Kind::Provider(_)))
            }),
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        if self.is_provider {
            write!(
                f,
                "{name} is listed in `[access] modules` and is a secrets provider: no secret is given out until that is mended"
            )
        } else {
            write!(
                f,
                "the access-control module {name} must be running and is not: no secret is given out until it is"
            )
        }
    }
}

fn running_modules(engine: &Engine) -> Result<Vec<Arc<Handle>>, Missing> {
    let snapshot = engine.registry.snapshot();
    let is_module = |entry: &Entry| entry.kind == Some(Kind::AccessControl);
    for name in &engine.config().access_modules {
        let entry = snapshot.get(name);
        if !entry.is_some_and(|entry| is_module(entry) && entry.handle().is_some()) {
            return Err(Missing::new(name, entry.map(Arc::as_ref)));
        }
    }
    let mut running = Vec::new();
    for entry in snapshot.values().filter(|entry| is_module(entry)) {
        match &entry.availability {
            Availability::Running(handle) => running.push(Arc::clone(handle)),
            Availability::Starting | Availability::Down => {
                return Err(Missing::new(&entry.name, Some(entry)));
            }
            Availability::Disabled => {}
        }
    }
    Ok(running)
}

fn judge(module: &Handle, decision: Result<access::Decision, CallError>) -> Result<(), Error> {
    match decision {
        Ok(access::Decision::Allow) => Ok(()),
        Ok(access::Decision::Deny) => Err(Error::permission_denied(format!(
            "the access-control module {} denies this",
            module.name()
        ))),
        Err(error) => {
            tracing::error!(plugin = %module.name(), "an access-control module gave no decision: {}", error.for_log());
            Err(Error::permission_denied(format!(
                "the access-control module {} gave no decision ({error})",
                module.name()
            )))
        }
    }
}

/// What a module is told of the caller. Nothing is said of the executable when it cannot be read.
fn requester(caller: &Peer) -> access::Requester {
    let facts = caller.facts();
    let at_connect = caller.facts_at_connect();
    if facts != at_connect {
        tracing::warn!(
            pid = caller.pid(),
            before = %at_connect.executable.display(),
            now = %facts.executable.display(),
            "the caller is not the program that connected"
        );
    }
    let name = facts
        .executable
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    access::Requester {
        pid: Some(caller.pid()),
        name: Some(name.unwrap_or_default()),
        absolute_binary_path: Some(facts.executable.to_string_lossy().into_owned()),
        signed_by_docker: Some(false),
        ..access::Requester::default()
    }
}
