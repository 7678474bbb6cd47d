//! The settings in force, for readers that never wait.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::Settings;

/// The settings in force. A reload replaces them as a whole.
#[derive(Debug)]
pub(crate) struct Current {
    settings: ArcSwap<Settings>,
    changes: watch::Sender<()>,
}

impl Current {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings: ArcSwap::from_pointee(settings),
            changes: watch::Sender::new(()),
        }
    }

    /// Returns a receiver that is notified of every change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Returns the settings now.
    pub(crate) fn load(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// Returns the generation of the settings now.
    pub(crate) fn generation(&self) -> u64 {
        self.settings.load().generation
    }

    /// Puts other settings into force.
    pub(crate) fn store(&self, settings: Arc<Settings>) {
        self.settings.store(settings);
        self.changes.send_replace(());
    }
}
