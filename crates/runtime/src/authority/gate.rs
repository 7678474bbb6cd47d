//! From a connection and an action to a permit: facts of the caller, the table, the access-control modules.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use keyway_local::{KnownUids, Process};
use keyway_rpc::Error;
use rustix::process::{Pid, getpgid};
use tokio::time::{Instant, timeout_at};

use super::action::{Action, Purpose};
use super::table::{CallerFacts, Connection, Rules};
use super::user::User;
use super::{Permit, Refusal, judge, modules};
use crate::caller::{Caller, Peer};
use crate::config::{Current, Settings};
use crate::model::{Class, PluginName};
use crate::plugin::{Availability, View};
use crate::registry::{Registry, Snapshot};
use crate::sys::ancestry::is_descendant;

/// How long a request of a descendant waits for a launch to be noted that may have brought it about.
const LAUNCH_NOTED: Duration = Duration::from_secs(1);

/// Decides about every action.
pub(crate) struct Gate {
    registry: Arc<Registry>,
    settings: Arc<Current>,
    known_uids: KnownUids,
}

/// A permit, until when it holds, and the settings by which it was given.
pub(crate) struct Permitted {
    pub(crate) permit: Permit,
    pub(crate) expires_at: Option<SystemTime>,
    pub(crate) settings: Arc<Settings>,
}

impl Gate {
    pub(crate) fn new(registry: Arc<Registry>, settings: Arc<Current>) -> Self {
        Self {
            registry,
            settings,
            known_uids: KnownUids::read(),
        }
    }

    /// Which user a uid is to the daemon now.
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
        let settings = self.settings.load();
        let facts = self.facts(&settings, &caller.peer, action).await;
        let rules = Rules::new(&settings, &facts);
        let provisional = judge(&facts, action, &rules).inspect_err(|refusal| {
            report(caller, refusal);
        })?;
        let except = provisional.excluded_plugin().cloned();
        let mut expires_at = None;
        let permit = provisional
            .consult(async |consultation| {
                expires_at = modules::consult(
                    &self.registry,
                    &settings,
                    caller,
                    consultation,
                    except.as_ref(),
                )
                .await?;
                Ok::<_, Error>(())
            })
            .await?;
        Ok(Permitted {
            permit,
            expires_at,
            settings,
        })
    }

    /// Whether other settings are in force by now.
    pub(crate) fn has_changed(&self, settings: &Settings) -> bool {
        self.settings.generation() != settings.generation
    }

    /// What the table needs to know of the caller of an action. For other users and for the version the process is not examined,
    /// and such a request never waits.
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

    /// The launched plugin to whose process group the caller belongs. A descendant may ask before its launch is noted.
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

/// Where the process of a caller comes from.
#[derive(Default)]
struct Origin {
    /// The launched plugin to whose process group it belongs.
    plugin: Option<PluginName>,
    /// Whether it descends from the daemon, or has ended.
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

/// Whether a process may exist that no view shows yet.
fn is_launching(snapshot: &Snapshot) -> bool {
    snapshot.values().any(|view| {
        matches!(view.availability, Availability::Starting { .. }) && view.pid.is_none()
    })
}

/// The process group of `pid`, which for a process of a launched plugin is the pid of that plugin; `None` if the process has
/// ended.
fn process_group(pid: Pid) -> Option<Pid> {
    getpgid(Some(pid)).ok()
}

fn report(caller: &Caller, refusal: &Refusal) {
    let (peer, request_id) = (&caller.peer, caller.request_id);
    tracing::warn!(uid = peer.uid(), pid = peer.pid(), %request_id, "request refused: {refusal}");
}

#[cfg(test)]
mod tests;
