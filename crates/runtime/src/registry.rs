//! Which plugins there are and what state each is in: a snapshot that readers take without waiting.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use keyway_proto::plugins::v1::RunStatus;
use keyway_secrets::Pattern;
use tokio::sync::watch;

use crate::config::PluginConfig;
use crate::name::PluginName;
use crate::plugin::Handle;
use crate::realm::Realm;

/// What a plugin is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It answers for the ids of this pattern, as it registered it.
    Provider(Pattern),
    /// It decides who may read secrets.
    AccessControl,
}

/// How a plugin came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// Somebody started it and it connected.
    Manual,
    /// The daemon started it.
    Launched,
}

/// What can be expected of a plugin now.
#[derive(Debug, Clone)]
pub(crate) enum Availability {
    /// It was started, for the first time since the daemon or a person wanted it to run, and may register any moment.
    Starting,
    /// It is registered.
    Running(Arc<Handle>),
    /// It should run, and does not.
    Down,
    /// It is not supposed to run.
    Disabled,
}

/// One plugin at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) name: PluginName,
    pub(crate) origin: Origin,
    pub(crate) config: Arc<PluginConfig>,
    pub(crate) availability: Availability,
    /// From this run, or remembered from an earlier one.
    pub(crate) kind: Option<Kind>,
    pub(crate) version: String,
    pub(crate) run_status: RunStatus,
    pub(crate) status_message: String,
}

impl Entry {
    /// The handle, when it is running.
    pub(crate) fn handle(&self) -> Option<&Arc<Handle>> {
        match &self.availability {
            Availability::Running(handle) => Some(handle),
            _ => None,
        }
    }

    /// The ids it may answer for, when it is known to be a provider.
    pub(crate) fn realm(&self) -> Option<Realm> {
        match &self.kind {
            Some(Kind::Provider(pattern)) => Some(Realm::new(
                pattern.clone(),
                self.config.realm.as_ref().and_then(|realm| realm.first()),
            )),
            // Configuration may know the realm of a plugin that was never seen.
            None => self
                .config
                .realm
                .clone()
                .and_then(|limit| Some(Realm::new(limit.into_iter().next()?, None))),
            Some(Kind::AccessControl) => None,
        }
    }

    /// Whose answer counts when two providers answer one id: the greater rank.
    pub(crate) fn rank(&self) -> (i64, Origin) {
        (self.config.priority.unwrap_or(0), self.origin)
    }
}

/// All plugins at one moment, by name.
pub(crate) type Snapshot = BTreeMap<PluginName, Arc<Entry>>;

/// The current [`Snapshot`], and a way to wait for the next one.
///
/// Each plugin's own task publishes its entry; nobody else changes it.
#[derive(Debug)]
pub(crate) struct Registry {
    snapshot: ArcSwap<Snapshot>,
    changes: watch::Sender<()>,
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self {
            snapshot: ArcSwap::default(),
            changes: watch::Sender::new(()),
        }
    }

    /// The plugins now. Never waits.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Sets the entry of one plugin.
    pub(crate) fn publish(&self, entry: Entry) {
        let entry = Arc::new(entry);
        self.change(|snapshot| {
            snapshot.insert(entry.name.clone(), Arc::clone(&entry));
        });
    }

    /// Adds an entry unless the name is taken. Two that try at the same time cannot both succeed.
    pub(crate) fn try_add(&self, entry: Entry) -> bool {
        let entry = Arc::new(entry);
        let mut added = false;
        self.change(|snapshot| {
            // This may run again when another change came between, so the last run counts.
            added = !snapshot.contains_key(&entry.name);
            if added {
                snapshot.insert(entry.name.clone(), Arc::clone(&entry));
            }
        });
        added
    }

    /// Takes one plugin out.
    pub(crate) fn remove(&self, name: &PluginName) {
        self.change(|snapshot| {
            snapshot.remove(name);
        });
    }

    /// Sees every change that is made after this call.
    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    fn change(&self, mut change: impl FnMut(&mut Snapshot)) {
        self.snapshot.rcu(|snapshot| {
            let mut snapshot = Snapshot::clone(snapshot);
            change(&mut snapshot);
            snapshot
        });
        self.changes.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, origin: Origin) -> Entry {
        Entry {
            name: name.parse().expect("a name"),
            origin,
            config: Arc::default(),
            availability: Availability::Starting,
            kind: None,
            version: String::new(),
            run_status: RunStatus::Unspecified,
            status_message: String::new(),
        }
    }

    #[tokio::test]
    async fn readers_keep_their_snapshot_and_are_told_of_changes() {
        let registry = Registry::new();
        let mut changes = registry.subscribe();
        let before = registry.snapshot();
        registry.publish(entry("a", Origin::Launched));
        changes.changed().await.expect("the registry lives");
        assert!(before.is_empty());
        assert_eq!(registry.snapshot().len(), 1);
        registry.remove(&"a".parse().expect("a name"));
        changes.changed().await.expect("the registry lives");
        assert!(registry.snapshot().is_empty());
    }

    #[test]
    fn l05_a_name_can_be_taken_once() {
        let registry = Registry::new();
        let n_added = std::thread::scope(|scope| {
            let add = || usize::from(registry.try_add(entry("one", Origin::Manual)));
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(add)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("no panic"))
                .sum::<usize>()
        });
        assert_eq!(n_added, 1);
    }

    #[test]
    fn launched_beats_manual_and_priority_beats_both() {
        let (launched, mut manual) = (entry("a", Origin::Launched), entry("b", Origin::Manual));
        assert!(launched.rank() > manual.rank());
        manual.config = Arc::new(PluginConfig {
            priority: Some(1),
            ..PluginConfig::default()
        });
        assert!(manual.rank() > launched.rank());
    }
}
