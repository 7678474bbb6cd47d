//! From a connection and an action to a permit: facts of the caller, the table, the access-control modules.

use std::ops::AsyncFnOnce;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use keyway_local::{KnownUids, Process};
use keyway_rpc::Error;
use keyway_secrets::{Id, Pattern};
use rustix::process::Pid;
use tokio::time::{Instant, timeout_at};

use super::action::{Action, Consultation, Purpose};
use super::refusal::Refusal;
use super::reserved::is_reserved;
use super::table::{CallerFacts, Connection, Grant, Rules};
use super::user::User;
use super::{modules, table};
use crate::caller::{Caller, Peer};
use crate::config::{Current, Settings};
use crate::lines::{PeerLines, peer_event};
use crate::model::{Class, PluginName, Realm};
use crate::plugin::{Availability, View};
use crate::registry::{Discovery, Registry, Snapshot};
use crate::sys::ancestry::is_descendant;
use crate::sys::group::process_group;

/// The time for which a request of a descendant waits for the record of the launch that may have started it.
const LAUNCH_NOTED: Duration = Duration::from_secs(1);

/// Decides about every action.
pub(crate) struct Authorizer {
    registry: Arc<Registry>,
    settings: Arc<Current>,
    known_uids: KnownUids,
    /// Log lines about refused requests.
    refusal_lines: PeerLines,
    /// Log lines about callers whose executable changed.
    executable_lines: PeerLines,
}

/// The right to take one action, as far as the table and the settings decide: the access-control modules are not consulted yet.
#[derive(Debug)]
pub(super) struct Provisional {
    grant: Grant,
}

/// The right to take one action.
#[derive(Debug)]
pub(crate) struct Permit {
    grant: Grant,
}

impl Provisional {
    /// Checks `action` of a caller against the table.
    ///
    /// # Errors
    ///
    /// Returns [`Refusal`] if the table does not permit the action.
    pub(super) fn new(
        facts: &CallerFacts,
        action: &Action<'_>,
        rules: &Rules<'_>,
    ) -> Result<Self, Refusal> {
        Ok(Self {
            grant: table::check(facts, action, rules)?,
        })
    }

    /// Returns the plugin that is not consulted if it is a module: the caller is one of its processes.
    pub(super) fn excluded_plugin(&self) -> Option<&PluginName> {
        self.grant.excluded_plugin.as_ref()
    }

    /// Returns the permit, if no module has to be consulted or `consult` returns that all allow the action.
    ///
    /// # Errors
    ///
    /// Returns the error of `consult`.
    pub(super) async fn consult<E>(
        self,
        consult: impl AsyncFnOnce(&Consultation) -> Result<(), E>,
    ) -> Result<Permit, E> {
        if let Some(consultation) = &self.grant.consultation {
            consult(consultation).await?;
        }
        Ok(Permit { grant: self.grant })
    }
}

impl Permit {
    /// Returns a permit without conditions, except that the caller may be a process of `plugin`.
    #[cfg(test)]
    pub(crate) fn for_tests(plugin: Option<&PluginName>) -> Self {
        Self {
            grant: Grant {
                excluded_plugin: plugin.cloned(),
                ..Grant::default()
            },
        }
    }

    /// Returns `true` if a value of `id` may be given out: it is not reserved, and no limit of the caller excludes it.
    pub(crate) fn covers(&self, id: &Id) -> bool {
        !is_reserved(id) && self.limit().is_none_or(|limit| limit.matches(id))
    }

    /// Returns the query to resolve in place of `query`: cut to the caller's limit as far as one pattern can express that.
    /// [`covers`](Self::covers) still decides about each returned id.
    pub(crate) fn narrow(&self, query: &Pattern) -> Pattern {
        match self.limit() {
            Some(limit) => limit.narrow(query),
            None => query.clone(),
        }
    }

    /// Returns the realm that the caller may resolve; `None`: everything.
    pub(crate) fn limit(&self) -> Option<&Realm> {
        self.grant.limit.as_ref()
    }

    /// Returns the plugin that is not a candidate and is not waited for: the caller is one of its processes.
    pub(crate) fn excluded_plugin(&self) -> Option<&PluginName> {
        self.grant.excluded_plugin.as_ref()
    }

    /// Returns `true` if every `status_message` is empty for the caller.
    pub(crate) fn hides_status(&self) -> bool {
        self.grant.hides_status
    }
}

/// A permit, until when it holds, and the settings by which it was given.
pub(crate) struct Permitted {
    pub(crate) permit: Permit,
    pub(crate) expires_at: Option<SystemTime>,
    pub(crate) settings: Arc<Settings>,
}

impl Authorizer {
    pub(crate) fn new(registry: Arc<Registry>, settings: Arc<Current>) -> Self {
        Self {
            registry,
            settings,
            known_uids: KnownUids::read(),
            refusal_lines: PeerLines::default(),
            executable_lines: PeerLines::default(),
        }
    }

    /// Returns which user a uid is to the daemon now.
    pub(crate) fn user(&self, uid: u32) -> User {
        self.user_by(&self.settings.load(), uid)
    }

    fn user_by(&self, settings: &Settings, uid: u32) -> User {
        User::of(uid, &self.known_uids, &settings.config.allow_uids)
    }

    /// Permits an action of a caller of the daemon's socket.
    ///
    /// # Errors
    ///
    /// `permission_denied` if the table or a module refuses.
    pub(crate) async fn permit(
        &self,
        caller: &Caller,
        action: &Action<'_>,
    ) -> Result<Permitted, Error> {
        self.wait_for_plugins(action.purpose()).await?;
        let settings = self.settings.load();
        let facts = self.facts(&settings, &caller.peer, action).await;
        let rules = Rules::new(&settings, &facts);
        let provisional = Provisional::new(&facts, action, &rules).inspect_err(|refusal| {
            self.report(caller, refusal);
        })?;
        let except = provisional.excluded_plugin().cloned();
        let mut expires_at = None;
        let permit = provisional
            .consult(async |consultation| {
                let decision = modules::consult(
                    &self.registry,
                    &settings,
                    caller,
                    consultation,
                    except.as_ref(),
                )
                .await;
                self.report_executable(caller);
                expires_at = decision?;
                Ok::<_, Error>(())
            })
            .await?;
        Ok(Permitted {
            permit,
            expires_at,
            settings,
        })
    }

    /// Waits until the plugins are known. A request that depends on all of them fails while their directories do not respond: a
    /// plugin that is not known could hold the value, or deny the action.
    async fn wait_for_plugins(&self, purpose: Purpose) -> Result<(), Error> {
        let is_independent = match purpose {
            Purpose::Version => return Ok(()),
            Purpose::Resolve | Purpose::List | Purpose::Explain | Purpose::Authorize => false,
            Purpose::Write | Purpose::Hijack => false,
            Purpose::ListPlugins | Purpose::Inspect | Purpose::Manage => true,
        };
        match self.registry.discovered().await {
            Discovery::Stopping if !is_independent => {
                Err(Error::unavailable("the daemon is stopping"))
            }
            Discovery::Overdue if !is_independent => Err(Error::unavailable(
                "the plugin directories do not respond, so the plugins are not known. Check their file systems; the daemon \
                 goes on when they respond",
            )),
            _ => Ok(()),
        }
    }

    fn report(&self, caller: &Caller, refusal: &Refusal) {
        let (peer, request_id) = (&caller.peer, caller.request_id);
        peer_event!(
            self.refusal_lines,
            WARN,
            uid = peer.uid(), pid = peer.pid(), %request_id, reason = %refusal, "request refused"
        );
    }

    /// Logs that the executable of a caller, if a module was given it, is another one than when it connected.
    fn report_executable(&self, caller: &Caller) {
        let peer = &caller.peer;
        if let Some(facts) = caller.facts_if_read()
            && facts.executable != peer.executable()
        {
            peer_event!(
                self.executable_lines,
                WARN,
                pid = peer.pid(),
                before = %peer.executable().display(),
                now = %facts.executable.display(),
                "executable of a caller changed"
            );
        }
    }

    /// Returns `true` if other settings are in force by now.
    pub(crate) fn has_changed(&self, settings: &Settings) -> bool {
        self.settings.generation() != settings.generation
    }

    /// Returns the facts of an action's caller that the table needs. For other users and for the version the process is not
    /// examined, and nothing is waited for.
    async fn facts(&self, settings: &Settings, peer: &Peer, action: &Action<'_>) -> CallerFacts {
        let (user, purpose) = (self.user_by(settings, peer.uid()), action.purpose());
        let is_decided = user == User::Other || purpose == Purpose::Version;
        let origin = match peer.process() {
            Some(process) if !is_decided => self.origin(process, purpose).await,
            _ => Origin::default(),
        };
        CallerFacts {
            user,
            is_contained: peer.is_contained,
            connection: if peer.is_path_address {
                Connection::Path
            } else {
                Connection::Abstract
            },
            plugin: origin.plugin,
            is_descendant: origin.is_descendant,
        }
    }

    async fn origin(&self, process: &Process, purpose: Purpose) -> Origin {
        let plugin = self.plugin_of(process.pid()).await;
        // The ancestry takes several reads of `/proc`, and only changes depend on it.
        let is_change = matches!(purpose, Purpose::Manage | Purpose::Write);
        let is_descendant = is_change && is_descendant(process.pid());
        // The order matters: alive after the reading means that the reading was of this process and not of another one that
        // got its pid.
        if process.is_alive() {
            Origin {
                plugin,
                is_descendant,
            }
        } else {
            Origin {
                plugin: None,
                is_descendant: true,
            }
        }
    }

    /// Returns the launched plugin to whose process group the caller belongs. A descendant may connect before its launch is
    /// recorded.
    async fn plugin_of(&self, pid: Pid) -> Option<PluginName> {
        let group = process_group(pid)?;
        let mut changes = self.registry.subscribe();
        let until = Instant::now() + LAUNCH_NOTED;
        loop {
            let snapshot = self.registry.snapshot();
            let found = group_owner(&snapshot, group);
            if found.is_some() || !is_launching(&snapshot) || !is_descendant(pid) {
                return found;
            }
            if timeout_at(until, changes.changed()).await.is_err() {
                return None;
            }
        }
    }
}

/// The origin of a caller's process.
#[derive(Default)]
struct Origin {
    /// The launched plugin to whose process group it belongs.
    plugin: Option<PluginName>,
    /// `true` if it descends from the daemon, or has ended.
    is_descendant: bool,
}

fn group_owner(snapshot: &Snapshot, group: Pid) -> Option<PluginName> {
    let group = group.as_raw_nonzero().get();
    let is_owner = |view: &&Arc<View>| view.class == Class::Launched && view.pid == Some(group);
    snapshot
        .values()
        .find(is_owner)
        .map(|view| view.name.clone())
}

/// Returns `true` if a process may exist that no view shows yet.
fn is_launching(snapshot: &Snapshot) -> bool {
    snapshot.values().any(|view| {
        matches!(view.availability, Availability::Starting { .. }) && view.pid.is_none()
    })
}

#[cfg(test)]
mod tests;
