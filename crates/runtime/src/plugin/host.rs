//! The parts of the daemon that every plugin's task uses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::retry::RestartPolicy;
use super::suspension::Suspensions;
use super::view::View;
use crate::config::VersionInfo;
use crate::launch::{Environment, Spawner};
use crate::lines::PeerLines;
use crate::model::PluginName;
use crate::record::{Audit, Memory};

/// The parts of the daemon that a plugin's task uses.
pub(crate) struct Host {
    /// Starts processes.
    pub(crate) spawner: Spawner,
    /// The environment that plugins may be given parts of.
    pub(crate) environment: Environment,
    /// The memory from one run to the next.
    pub(crate) memory: Arc<Memory>,
    /// Records registrations and refusals.
    pub(crate) audit: Arc<Audit>,
    /// The delays between the starts of a plugin that ended unexpectedly.
    pub(crate) restart: RestartPolicy,
    /// The time for which the connection of a plugin may be idle until the plugin is pinged.
    pub(crate) keep_alive: Duration,
    /// The time for which a plugin whose file has vanished keeps running.
    pub(crate) removal_grace: Duration,
    /// The daemon's version, for plugins that register.
    pub(crate) version: VersionInfo,
    /// Receives the views that the tasks publish.
    pub(crate) publisher: Arc<dyn Publish>,
    /// The suspensions of the daemon itself.
    pub(crate) suspensions: Arc<Suspensions>,
    pub(crate) stopping: AtomicBool,
    /// Log lines about external plugins that registered.
    pub(crate) registration_lines: PeerLines,
    /// Log lines about external plugins that were refused.
    pub(crate) refusal_lines: PeerLines,
    /// Log lines about external plugins that left.
    pub(crate) departure_lines: PeerLines,
}

/// Takes the views that the tasks of plugins publish.
pub(crate) trait Publish: Send + Sync {
    /// Replaces the view of one plugin.
    fn publish(&self, view: View);

    /// Forgets a plugin.
    fn remove(&self, name: &PluginName);
}

impl Host {
    /// Returns `true` if the daemon is stopping: no plugin may register.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Marks the daemon as stopping: from now on no plugin may register.
    pub(crate) fn begin_to_stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }
}
