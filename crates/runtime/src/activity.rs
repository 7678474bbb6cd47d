//! The activity of the daemon, for a service manager.

use std::fmt;
use std::sync::Arc;

use keyway_proto::keyway::v1::PluginState;
use tokio::sync::watch;

use crate::registry::{Discovery, Registry, Snapshot};

/// The activity of a running daemon.
///
/// `Display` is one line for a status: `3 plugins running, 1 starting`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Activity {
    /// A reload is under way.
    pub is_reloading: bool,
    /// Number of plugins that are sent requests.
    pub running: usize,
    /// Number of plugins that are started or replaced.
    pub starting: usize,
    /// Number of plugins that should run and do not.
    pub failed: usize,
}

impl Activity {
    fn of(plugins: &Snapshot, is_reloading: bool) -> Self {
        let mut activity = Self {
            is_reloading,
            ..Self::default()
        };
        for view in plugins.values() {
            match view.state {
                PluginState::Running => activity.running += 1,
                PluginState::Starting | PluginState::Restarting => activity.starting += 1,
                PluginState::Crashed
                | PluginState::RetriesExceeded
                | PluginState::Failed
                | PluginState::Refused
                | PluginState::Untrusted
                | PluginState::Absent => activity.failed += 1,
                PluginState::Available | PluginState::Disabled | PluginState::Unspecified => {}
            }
        }
        activity
    }
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.running == 1 { "" } else { "s" };
        write!(f, "{} plugin{plural} running", self.running)?;
        if self.starting > 0 {
            write!(f, ", {} starting", self.starting)?;
        }
        if self.failed > 0 {
            write!(f, ", {} not running: see `keyway plugins`", self.failed)?;
        }
        Ok(())
    }
}

/// Follows the [`Activity`] of a daemon. From [`Daemon::activities`](crate::Daemon::activities).
#[derive(Debug)]
pub struct Activities {
    registry: Arc<Registry>,
    plugins: watch::Receiver<()>,
    reloads: watch::Receiver<usize>,
    last: Option<Activity>,
}

impl Activities {
    pub(crate) fn new(registry: Arc<Registry>, reloads: watch::Receiver<usize>) -> Self {
        Self {
            plugins: registry.subscribe(),
            registry,
            reloads,
            last: None,
        }
    }

    /// Waits until the activity has changed, and returns it; the first call returns when the plugins are known, or when their
    /// directories do not respond. Changes that follow each other quickly may be seen as one. Pending forever when the daemon has
    /// stopped, also before the plugins were known.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the change is returned by the next call.
    pub async fn next(&mut self) -> Activity {
        let discovery = self.registry.discovered().await;
        if discovery == Discovery::Stopping && self.last.is_none() {
            std::future::pending::<()>().await;
        }
        loop {
            let n_reloads = *self.reloads.borrow_and_update();
            self.plugins.mark_unchanged();
            let activity = Activity::of(&self.registry.snapshot(), n_reloads > 0);
            if self.last.replace(activity) != Some(activity) {
                return activity;
            }
            let changed = tokio::select! {
                changed = self.plugins.changed() => changed,
                changed = self.reloads.changed() => changed,
            };
            if changed.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn the_status_counts_running_starting_and_failed_plugins() {
        let activity = |running, starting, failed| Activity {
            running,
            starting,
            failed,
            is_reloading: false,
        };
        for (activity, text) in [
            (activity(0, 0, 0), "0 plugins running"),
            (activity(1, 0, 0), "1 plugin running"),
            (activity(3, 1, 0), "3 plugins running, 1 starting"),
            (
                activity(2, 0, 1),
                "2 plugins running, 1 not running: see `keyway plugins`",
            ),
        ] {
            assert_eq!(activity.to_string(), text);
        }
    }

    #[tokio::test]
    async fn activities_begin_when_the_plugins_are_known_and_a_reload_is_seen_once_with_its_end() {
        let (reloads, receiver) = watch::channel(0);
        let registry = Arc::new(Registry::new());
        registry.set_discovery(Discovery::UnderWay);
        let mut activities = Activities::new(Arc::clone(&registry), receiver);
        assert!(activities.next().now_or_never().is_none());
        registry.set_discovery(Discovery::Complete);
        assert!(!activities.next().await.is_reloading);
        reloads.send_modify(|n| *n += 2);
        assert!(activities.next().await.is_reloading);
        // One of two has ended: nothing to report.
        reloads.send_modify(|n| *n -= 1);
        let mut next = std::pin::pin!(activities.next());
        assert!((&mut next).now_or_never().is_none());
        reloads.send_modify(|n| *n -= 1);
        assert!(!next.await.is_reloading);
    }
}
