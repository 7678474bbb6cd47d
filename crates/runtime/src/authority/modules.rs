//! Consulting the access-control modules. Every failure is a denial.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use futures::future::join_all;
use keyway_proto::accesscontrol::v1 as access;
use keyway_proto::timestamp;
use keyway_rpc::Error;
use keyway_secrets::Pattern;
use tokio::time::{Instant, timeout_at};

use super::action::Consultation;
use crate::caller::Caller;
use crate::config::Settings;
use crate::lines::peer_event;
use crate::model::{Kind, PluginName};
use crate::plugin::{Availability, CallContext, CallError, View};
use crate::registry::{Registry, Snapshot};

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
    let consult_one = async |module: &View| {
        let context = CallContext {
            request_id: caller.request_id,
            may_ask_user: true,
            limit: module.settings.timeout,
        };
        consult_module(module, &context, consultation, &requester).await
    };
    if let [module] = modules.as_slice() {
        return consult_one(module).await;
    }
    let decisions = join_all(modules.iter().map(|module| consult_one(module))).await;
    let expiries: Vec<Option<SystemTime>> = decisions.into_iter().collect::<Result<_, _>>()?;
    Ok(expiries.into_iter().flatten().min())
}

async fn consult_module(
    module: &View,
    context: &CallContext,
    consultation: &Consultation,
    requester: &access::Requester,
) -> Result<Option<SystemTime>, Error> {
    match consultation {
        Consultation::CheckAccess(patterns) => {
            for pattern in patterns {
                check_access(module, context, pattern, requester).await?;
            }
            Ok(None)
        }
        Consultation::Authorize(patterns) => authorize(module, context, patterns, requester).await,
    }
}

async fn check_access(
    module: &View,
    context: &CallContext,
    pattern: &Pattern,
    requester: &access::Requester,
) -> Result<(), Error> {
    let Some(handle) = module.handle() else {
        return Err(Missing::of(module).into());
    };
    let message = access::CheckAccessRequest {
        pattern: Some(pattern.to_string()),
        requester: Some(requester.clone()),
    };
    let response = handle.check_access(message, context).await;
    check_decision(
        module,
        context,
        response.map(|response| response.decision()),
    )
}

async fn authorize(
    module: &View,
    context: &CallContext,
    patterns: &[Pattern],
    requester: &access::Requester,
) -> Result<Option<SystemTime>, Error> {
    let Some(handle) = module.handle() else {
        return Err(Missing::of(module).into());
    };
    let message = access::AuthorizeRequest {
        patterns: patterns.iter().map(ToString::to_string).collect(),
        requester: Some(requester.clone()),
    };
    let response = handle.authorize(message, context).await;
    let expires_at = response
        .as_ref()
        .ok()
        .and_then(|response| timestamp::from_wire(response.expires_at).ok().flatten());
    let decision = response.map(|response| response.decision());
    check_decision(module, context, decision).map(|()| expires_at)
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
    for name in listed.filter(|name| Some(*name) != except) {
        let Some(view) = snapshot.get(name) else {
            return Needed::Missing(Missing::absent(name));
        };
        let is_module = view.kind == Some(Kind::AccessControl);
        match &view.availability {
            Availability::Running(_) if is_module => {}
            // A listed module is waited for whether or not its last start failed.
            Availability::Starting { until, .. } => {
                return Needed::Starting {
                    until: Instant::from_std(*until),
                    missing: Missing::of(view).listed(),
                };
            }
            _ => return Needed::Missing(Missing::of(view).listed()),
        }
    }
    let mut running = Vec::new();
    let others = snapshot.values().filter(|view| Some(&view.name) != except);
    for view in
        others.filter(|view| view.kind == Some(Kind::AccessControl) || view.may_be_anything())
    {
        match &view.availability {
            Availability::Running(_) => running.push(Arc::clone(view)),
            Availability::Starting { until, .. } => {
                return Needed::Starting {
                    until: Instant::from_std(*until),
                    missing: Missing::of(view),
                };
            }
            Availability::Failed { .. } => return Needed::Missing(Missing::of(view)),
            Availability::Excluded => {}
        }
    }
    Needed::Ready(running)
}

/// A module that must be running and is not.
#[derive(Debug)]
struct Missing {
    name: PluginName,
    why: String,
    /// Whether `[access] modules` names it.
    is_listed: bool,
}

impl Missing {
    fn of(view: &View) -> Self {
        let why = match &view.kind {
            Some(Kind::Provider(_)) => "it is a secrets provider".into(),
            _ if view.message.is_empty() => "it is not running".into(),
            _ => view.message.clone(),
        };
        Self {
            name: view.name.clone(),
            why,
            is_listed: false,
        }
    }

    fn listed(self) -> Self {
        Self {
            is_listed: true,
            ..self
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
        // Management is denied as well, so the way out is the configuration.
        let way_out = match self.is_listed {
            true => "remove its name from `[access] modules`".to_owned(),
            false => format!("set `enabled = false` in `[plugins.{name}]`"),
        };
        write!(
            f,
            "Repair it, or {way_out} and run `kill -HUP` with the daemon's pid"
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
    decision: Result<access::Decision, CallError>,
) -> Result<(), Error> {
    let name = &module.name;
    match decision {
        Ok(access::Decision::Allow) => Ok(()),
        Ok(access::Decision::Deny) => Err(Error::permission_denied(format!(
            "the access-control module {name} denies this. Ask the administrator of {name}, or change what it allows"
        ))),
        Err(error) => {
            peer_event!(
                module.record.failure_lines,
                ERROR,
                plugin = %name, code = %error.code(), request_id = %context.request_id,
                "access-control module gave no decision"
            );
            Err(Error::permission_denied(format!(
                "the access-control module {name} gave no decision: {error}. Run `keyway plugins` to see its state, and look at the \
                 daemon's log"
            )))
        }
    }
}

/// The caller as a module sees it. The path is empty if it cannot be read.
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
