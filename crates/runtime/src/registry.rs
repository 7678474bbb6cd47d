//! The registry: all plugins and their states, as a snapshot that readers take without waiting.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::config::Settings;
use crate::model::PluginName;
use crate::plugin::{Availability, CallContext, CallError, Handle, Publish, View};

/// All plugins at one moment, by name.
pub(crate) type Snapshot = BTreeMap<PluginName, Arc<View>>;

/// A plugin after the process that took no more calls; `None` if the plugin is gone.
#[derive(Debug)]
pub(crate) struct Successor(pub(crate) Option<Arc<View>>);

/// The completeness of the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Discovery {
    /// The plugin directories are being scanned for the first time.
    UnderWay,
    /// That takes too long: a file system hangs.
    Overdue,
    Complete,
    /// The daemon is stopping its plugins: none is known any more.
    Stopping,
}

/// The current [`Snapshot`], and a way to wait for the next one.
///
/// Each plugin's task publishes its own view. A reload applies the new settings to all views at once, and to every view that is
/// published later, so that no query sees settings of both sides.
#[derive(Debug)]
pub(crate) struct Registry {
    snapshot: ArcSwap<Snapshot>,
    /// The settings that were applied last.
    settings: ArcSwapOption<Settings>,
    changes: watch::Sender<()>,
    discovery: watch::Sender<Discovery>,
}

impl Registry {
    /// A registry that holds every plugin, because there is none.
    pub(crate) fn new() -> Self {
        Self {
            snapshot: ArcSwap::default(),
            settings: ArcSwapOption::empty(),
            changes: watch::Sender::new(()),
            discovery: watch::Sender::new(Discovery::Complete),
        }
    }

    /// Sets whether the snapshot holds every plugin. After [`Discovery::Stopping`] nothing changes that.
    pub(crate) fn set_discovery(&self, discovery: Discovery) {
        self.discovery.send_if_modified(|now| {
            let changes = *now != Discovery::Stopping;
            if changes {
                *now = discovery;
            }
            changes
        });
    }

    /// Waits for the first scan of the plugin directories, and returns its result: complete, overdue or stopping.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(crate) async fn discovered(&self) -> Discovery {
        let discovery = *self.discovery.borrow();
        if discovery != Discovery::UnderWay {
            return discovery;
        }
        let mut changes = self.discovery.subscribe();
        let changed = changes.wait_for(|discovery| *discovery != Discovery::UnderWay);
        // The sender lives as long as the registry.
        changed
            .await
            .map_or(Discovery::Overdue, |discovery| *discovery)
    }

    /// Returns the plugins now. Never waits.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Returns a receiver that is notified of every change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Waits until a plugin has started or failed, at most until its start is due or until `deadline`, and returns it as it is then;
    /// `None` if it is gone.
    pub(crate) async fn started(
        &self,
        name: &PluginName,
        deadline: Option<Instant>,
    ) -> Option<Arc<View>> {
        let mut changes = self.subscribe();
        loop {
            let view = self.snapshot().get(name).cloned()?;
            let Availability::Starting { until, .. } = &view.availability else {
                return Some(view);
            };
            let until = Instant::from_std(*until);
            let until = deadline.map_or(until, |deadline| deadline.min(until));
            if timeout_at(until, changes.changed()).await.is_err() {
                return Some(view);
            }
        }
    }

    /// Waits for the successor of the process of `handle`, if `result` is that the process accepts no more calls, because it is being
    /// replaced: until the plugin's task has seen that, within the limit of the call, and then as [`started`](Self::started) does.
    ///
    /// Returns `None` if there is no reason to wait, or not enough time.
    pub(crate) async fn successor<T>(
        &self,
        handle: &Arc<Handle>,
        result: &Result<T, CallError>,
        context: &CallContext,
        deadline: Option<Instant>,
    ) -> Option<Successor> {
        let Err(CallError::NotAccepted { .. }) = result else {
            return None;
        };
        let is_former =
            |view: &Arc<View>| view.handle().is_some_and(|now| Arc::ptr_eq(now, handle));
        let name = handle.name();
        let until = Instant::now() + context.limit;
        let mut changes = self.subscribe();
        while self.snapshot().get(name).is_some_and(is_former) {
            timeout_at(until, changes.changed()).await.ok()?.ok()?;
        }
        Some(Successor(self.started(name, deadline).await))
    }

    /// Applies new settings to every view; the tasks of the plugins follow.
    pub(crate) fn apply(&self, settings: &Arc<Settings>) {
        // Before the views: a view that is published meanwhile is made again, since its snapshot is not the newest any more.
        self.settings.store(Some(Arc::clone(settings)));
        self.change(|snapshot| {
            for view in snapshot.values_mut() {
                *view = Arc::new(view.with_settings(settings.plugin(&view.name)));
            }
        });
    }

    fn change(&self, change: impl Fn(&mut Snapshot)) {
        self.snapshot.rcu(|snapshot| {
            let mut snapshot = Snapshot::clone(snapshot);
            change(&mut snapshot);
            snapshot
        });
        self.changes.send_replace(());
    }
}

impl Publish for Registry {
    fn publish(&self, view: View) {
        self.change(|snapshot| {
            let settings = self.settings.load();
            let settings = settings
                .as_ref()
                .map(|settings| settings.plugin(&view.name));
            // A plugin's task that follows a reload later than the registry publishes by the former settings.
            let view = match settings {
                Some(settings) if !Arc::ptr_eq(&settings, &view.settings) => {
                    view.with_settings(settings)
                }
                _ => view.clone(),
            };
            snapshot.insert(view.name.clone(), Arc::new(view));
        });
    }

    /// A plugin that the daemon stops stays: for a request in progress it has failed, and is not absent.
    fn remove(&self, name: &PluginName) {
        if *self.discovery.borrow() == Discovery::Stopping {
            return;
        }
        self.change(|snapshot| {
            snapshot.remove(name);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiting_reader_is_notified_of_a_removal() {
        let registry = Registry::new();
        let mut changes = registry.subscribe();
        changes.mark_unchanged();
        registry.remove(&"absent".parse().expect("a name"));
        assert!(changes.has_changed().expect("the registry lives"));
        assert!(registry.snapshot().is_empty());
    }

    #[test]
    fn a_stopping_registry_keeps_its_state_and_its_plugins() {
        let registry = Registry::new();
        let mut changes = registry.subscribe();
        registry.set_discovery(Discovery::Stopping);
        registry.set_discovery(Discovery::Complete);
        assert_eq!(*registry.discovery.borrow(), Discovery::Stopping);
        changes.mark_unchanged();
        registry.remove(&"vault".parse().expect("a name"));
        assert!(!changes.has_changed().expect("the registry lives"));
    }
}
