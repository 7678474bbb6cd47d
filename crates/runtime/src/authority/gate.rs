//! From a connection and an action to a permit: facts of the caller, the table, the access-control modules.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use keyway_local::KnownUids;
use keyway_rpc::Error;
use rustix::process::Pid;
use tokio::time::{Instant, timeout_at};

use super::action::{Action, Purpose};
use super::caller::{User, process_group};
use super::table::{CallerFacts, Connection, Rules};
use super::{Permit, Refusal, judge, modules};
use crate::config::Current;
use crate::identity::Peer;
use crate::model::{Class, PluginName, RequestId};
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

/// A permit, and until when it holds.
pub(crate) struct Permitted {
    pub(crate) permit: Permit,
    pub(crate) expires_at: Option<SystemTime>,
}

impl Gate {
    pub(crate) fn new(registry: Arc<Registry>, settings: Arc<Current>) -> Self {
        Self {
            registry,
            settings,
            known_uids: KnownUids::read(),
        }
    }

    /// Which user a uid is to the daemon.
    pub(crate) fn user(&self, uid: u32) -> User {
        let settings = self.settings.load();
        let allowed = &settings.config.allow_uids;
        User::of(uid, &self.known_uids, allowed)
    }

    /// Permits an action of a caller of the daemon's socket.
    ///
    /// # Errors
    ///
    /// `permission_denied` if the table or a module refuses.
    pub(crate) async fn permit(
        &self,
        peer: &Peer,
        action: &Action<'_>,
        request_id: RequestId,
    ) -> Result<Permitted, Error> {
        let facts = self.facts(peer, action).await;
        let settings = self.settings.load();
        let rules = Rules::new(&settings, &facts);
        let provisional = judge(&facts, action, &rules).inspect_err(|refusal| {
            report(peer, request_id, refusal);
        })?;
        let except = provisional.excluded_plugin().cloned();
        let mut expires_at = None;
        let permit = provisional
            .consult(async |consultation| {
                let caller = (peer, request_id);
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
        Ok(Permitted { permit, expires_at })
    }

    /// Whether settings other than `settings` are in force by now.
    pub(crate) fn has_changed(&self, generation: u64) -> bool {
        self.settings.generation() != generation
    }

    /// The generation of the settings in force.
    pub(crate) fn generation(&self) -> u64 {
        self.settings.generation()
    }

    async fn facts(&self, peer: &Peer, action: &Action<'_>) -> CallerFacts {
        let pid = peer.process().map(|process| process.pid());
        let plugin = self.plugin_of(pid).await;
        // The ancestry takes several reads of `/proc`, and only changes depend on it.
        let is_change = matches!(action.purpose(), Purpose::Manage | Purpose::Write);
        let is_descendant = is_change && pid.is_some_and(is_descendant);
        CallerFacts {
            user: self.user(peer.uid()),
            is_contained: peer.is_contained,
            connection: if peer.is_path_address {
                Connection::Path
            } else {
                Connection::Abstract
            },
            plugin,
            is_descendant,
        }
    }

    /// The launched plugin to whose process group the caller belongs. A descendant may ask before its launch is noted.
    async fn plugin_of(&self, pid: Option<Pid>) -> Option<PluginName> {
        let group = process_group(pid)?;
        let mut changes = self.registry.subscribe();
        let until = Instant::now() + LAUNCH_NOTED;
        loop {
            let snapshot = self.registry.snapshot();
            let found = group_owner(&snapshot, group);
            if found.is_some() || !is_launching(&snapshot) || !pid.is_some_and(is_descendant) {
                return found;
            }
            if timeout_at(until, changes.changed()).await.is_err() {
                return None;
            }
        }
    }
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

fn report(peer: &Peer, request_id: RequestId, refusal: &Refusal) {
    tracing::warn!(uid = peer.uid(), pid = peer.pid(), %request_id, "request refused: {refusal}");
}
