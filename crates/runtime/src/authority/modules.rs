//! Consulting the access-control modules. Every failure is a denial.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use futures::future::join_all;
use keyway_local::with_causes;
use keyway_proto::accesscontrol::v1 as access;
use keyway_proto::timestamp;
use keyway_rpc::Error;
use tokio::time::{Instant, timeout_at};

use super::action::Consultation;
use crate::caller::Caller;
use crate::config::Settings;
use crate::lines::peer_event;
use crate::model::{Kind, PluginName, RequestId};
use crate::plugin::{Availability, CallContext, CallError, Handle, View};
use crate::registry::{Registry, Snapshot, Successor};

/// Consults every module about an action of `caller`; `except` is the plugin whose own process is the caller.
///
/// Returns the time until which the decision holds, if the modules limit it.
///
/// # Errors
///
/// `permission_denied` if a module denies, gives no decision, or must be running and is not.
pub(super) async fn consult(
    registry: &Registry,
    settings: &Settings,
    caller: &Caller,
    consultation: &Consultation,
    except: Option<&PluginName>,
) -> Result<Option<SystemTime>, Error> {
    let modules = wait_for_modules(registry, settings, except).await?;
    if modules.is_empty() {
        return Ok(None);
    }
    let requester = requester(caller);
    let consult_one = async |module: &Arc<View>| {
        let request_id = caller.request_id;
        consult_module(
            registry,
            settings,
            module,
            request_id,
            consultation,
            &requester,
        )
        .await
    };
    if let [module] = modules.as_slice() {
        return consult_one(module).await;
    }
    let decisions = join_all(modules.iter().map(consult_one)).await;
    let expiries: Vec<Option<SystemTime>> = decisions.into_iter().collect::<Result<_, _>>()?;
    Ok(expiries.into_iter().flatten().min())
}

/// Consults one module. A call that a module takes no more, because it is being replaced, goes to the process that follows, if that is
/// a module.
async fn consult_module(
    registry: &Registry,
    settings: &Settings,
    module: &Arc<View>,
    request_id: RequestId,
    consultation: &Consultation,
    requester: &access::Requester,
) -> Result<Option<SystemTime>, Error> {
    let mut module = Arc::clone(module);
    loop {
        let Some(handle) = module.handle() else {
            return Err(Missing::of(&module).into());
        };
        let context = CallContext {
            request_id,
            may_ask_user: true,
            limit: module.settings.timeout,
        };
        let decided = decide(handle, &context, consultation, requester).await;
        let successor = registry.successor(handle, &decided, &context, None).await;
        let Some(Successor(view)) = successor else {
            return check_decision(&module, &context, decided);
        };
        module = match role(&module.name, view.as_ref(), settings) {
            Role::Module(view) => view,
            Role::None => return Ok(None),
            Role::Starting { missing, .. } | Role::Missing(missing) => return Err(missing.into()),
        };
    }
}

/// Returns the decision of a module, and until when it holds if the module limits it.
async fn decide(
    handle: &Handle,
    context: &CallContext,
    consultation: &Consultation,
    requester: &access::Requester,
) -> Result<(access::Decision, Option<SystemTime>), CallError> {
    match consultation {
        Consultation::CheckAccess(patterns) => {
            for pattern in patterns {
                let message = access::CheckAccessRequest {
                    pattern: Some(pattern.to_string()),
                    requester: Some(requester.clone()),
                };
                let response = handle.check_access(message, context).await?;
                if response.decision() != access::Decision::Allow {
                    return Ok((response.decision(), None));
                }
            }
            Ok((access::Decision::Allow, None))
        }
        Consultation::Authorize(patterns) => {
            let message = access::AuthorizeRequest {
                patterns: patterns.iter().map(ToString::to_string).collect(),
                requester: Some(requester.clone()),
            };
            let response = handle.authorize(message, context).await?;
            let expires_at = timestamp::from_wire(response.expires_at).ok().flatten();
            Ok((response.decision(), expires_at))
        }
    }
}

/// Returns the modules to consult. Waits for those that are starting, and for plugins that may turn out to be modules.
async fn wait_for_modules(
    registry: &Registry,
    settings: &Settings,
    except: Option<&PluginName>,
) -> Result<Vec<Arc<View>>, Error> {
    let mut changes = registry.subscribe();
    loop {
        let until = match modules(&registry.snapshot(), settings, except) {
            Needed::Ready(modules) => return Ok(modules),
            Needed::Missing(missing) => return Err(missing.into()),
            Needed::Starting { until, missing } => (until, missing),
        };
        let (until, missing) = until;
        if timeout_at(until, changes.changed()).await.is_err() {
            return Err(missing.into());
        }
    }
}

/// The modules at one moment.
enum Needed {
    Ready(Vec<Arc<View>>),
    Starting { until: Instant, missing: Missing },
    Missing(Missing),
}

fn modules(snapshot: &Snapshot, settings: &Settings, except: Option<&PluginName>) -> Needed {
    let listed = settings.config.access_modules.iter();
    let others = snapshot.keys().filter(|name| !is_listed(name, settings));
    let names = listed.chain(others).filter(|name| Some(*name) != except);
    let mut running = Vec::new();
    for name in names {
        match role(name, snapshot.get(name), settings) {
            Role::Module(view) => running.push(view),
            Role::None => {}
            Role::Starting { until, missing } => return Needed::Starting { until, missing },
            Role::Missing(missing) => return Needed::Missing(missing),
        }
    }
    Needed::Ready(running)
}

fn is_listed(name: &PluginName, settings: &Settings) -> bool {
    settings.config.access_modules.contains(name)
}

/// The role of a plugin in authorization.
enum Role {
    /// A module that runs.
    Module(Arc<View>),
    /// Not consulted.
    None,
    /// A module, or a plugin that may be one, that is waited for.
    Starting { until: Instant, missing: Missing },
    /// A module without which nothing is allowed.
    Missing(Missing),
}

fn role(name: &PluginName, view: Option<&Arc<View>>, settings: &Settings) -> Role {
    let is_listed = is_listed(name, settings);
    let Some(view) = view else {
        return match is_listed {
            true => Role::Missing(Missing::absent(name)),
            false => Role::None,
        };
    };
    let is_module = view.kind == Some(Kind::AccessControl);
    let missing = || Missing {
        is_listed,
        ..Missing::of(view)
    };
    match &view.availability {
        _ if !(is_listed || is_module || view.may_be_anything()) => Role::None,
        Availability::Running(_) if is_module => Role::Module(Arc::clone(view)),
        // A listed module is waited for whether or not its last start failed.
        Availability::Starting { until, .. } => Role::Starting {
            until: Instant::from_std(*until),
            missing: missing(),
        },
        Availability::Excluded if !is_listed => Role::None,
        _ => Role::Missing(missing()),
    }
}

/// A module that must be running and is not.
#[derive(Debug)]
struct Missing {
    name: PluginName,
    why: String,
    /// `true` if `[access] modules` names it.
    is_listed: bool,
}

impl Missing {
    fn of(view: &View) -> Self {
        let why = match &view.kind {
            Some(Kind::Provider(_)) => "the plugin is a secrets provider".into(),
            _ if view.message.is_empty() => "the plugin is not running".into(),
            _ => view.message.clone(),
        };
        Self {
            name: view.name.clone(),
            why,
            is_listed: false,
        }
    }

    fn absent(name: &PluginName) -> Self {
        Self {
            name: name.clone(),
            why: "there is no such plugin".into(),
            is_listed: true,
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, why, .. } = self;
        let why = why.trim_end_matches('.');
        write!(
            f,
            "the access-control module {name} must be running and is not: {why}. "
        )?;
        // Management is denied as well, so the remedy is the configuration.
        let way_out = match self.is_listed {
            true => "remove its name from `[access] modules`".to_owned(),
            false => format!("set `enabled = false` in `[plugins.{name}]`"),
        };
        write!(
            f,
            "Repair the module, or {way_out} and run `kill -HUP` with the daemon's pid"
        )
    }
}

impl From<Missing> for Error {
    fn from(missing: Missing) -> Self {
        Self::permission_denied(missing.to_string())
    }
}

fn check_decision(
    module: &View,
    context: &CallContext,
    decided: Result<(access::Decision, Option<SystemTime>), CallError>,
) -> Result<Option<SystemTime>, Error> {
    let name = &module.name;
    match decided {
        Ok((access::Decision::Allow, expires_at)) => Ok(expires_at),
        Ok((access::Decision::Deny, _)) => Err(Error::permission_denied(format!(
            "the access-control module {name} denies this. Ask the administrator of {name}, or change what it allows"
        ))),
        Err(error) => {
            peer_event!(
                module.record.failure_lines,
                ERROR,
                plugin = %name, code = %error.code(), request_id = %context.request_id,
                "access-control module gave no decision"
            );
            let why = with_causes(&error);
            let (why, advice) = match module.stopped_process(&error) {
                Some(pid) => (
                    format!("{why}: its process {pid} is stopped"),
                    format!("Continue it with `kill -CONT {pid}`"),
                ),
                None => (
                    why,
                    "Run `keyway plugins` to see its state, and look at the daemon's log"
                        .to_owned(),
                ),
            };
            Err(Error::permission_denied(format!(
                "the access-control module {name} gave no decision: {why}. {advice}"
            )))
        }
    }
}

/// Returns the caller as a module sees it. The path is empty if it cannot be read.
fn requester(caller: &Caller) -> access::Requester {
    let (peer, facts) = (&caller.peer, caller.facts());
    let name = facts
        .executable
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    access::Requester {
        pid: Some(peer.pid().unwrap_or_default()),
        name: Some(name.unwrap_or_default()),
        absolute_binary_path: Some(facts.executable.to_string_lossy().into_owned()),
        signed_by_docker: Some(false),
        ..access::Requester::default()
    }
}

#[cfg(test)]
mod tests;
