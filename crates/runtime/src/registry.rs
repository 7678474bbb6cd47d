//! The registry: all plugins and their states, as a snapshot that readers take without waiting.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::watch;

use crate::config::Settings;
use crate::model::PluginName;
use crate::plugin::{Publish, View};

/// All plugins at one moment, by name.
pub(crate) type Snapshot = BTreeMap<PluginName, Arc<View>>;

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
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self {
            snapshot: ArcSwap::default(),
            settings: ArcSwapOption::empty(),
            changes: watch::Sender::new(()),
        }
    }

    /// The plugins now. Never waits.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Returns a receiver that is notified of every change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
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

    fn remove(&self, name: &PluginName) {
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
}
