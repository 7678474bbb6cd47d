//! What the daemon remembers, in memory and in the state file.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::PluginName;
use crate::model::state::{PluginState, State};
use crate::state::StateFile;

/// The state file and what it should hold.
///
/// It is written when it changes: rarely (a registration, a command of the user), and a few hundred bytes.
pub(crate) struct Memory {
    file: StateFile,
    state: Mutex<State>,
}

impl Memory {
    /// Reads the state file; one that is damaged counts as empty, and is logged.
    pub(crate) fn open(file: StateFile) -> Self {
        Self {
            state: Mutex::new(file.read()),
            file,
        }
    }

    /// Returns what is remembered of a plugin.
    pub(crate) fn plugin(&self, name: &PluginName) -> PluginState {
        self.lock().plugin(name)
    }

    /// Returns all that is remembered.
    pub(crate) fn state(&self) -> State {
        self.lock().clone()
    }

    /// Changes what is remembered of a plugin. That it cannot be written is logged.
    pub(crate) fn update(&self, name: &PluginName, change: impl FnOnce(&mut PluginState)) {
        let mut state = self.lock();
        // The lock is held while writing, so that an older state can never replace a newer one.
        let written = match state.update(name, change) {
            Ok(true) => self.file.write(&state),
            Ok(false) => Ok(()),
            Err(error) => Err(std::io::Error::other(error)),
        };
        if let Err(error) = written {
            tracing::error!(plugin = %name, %error, "state file not written: what changed of this plugin is lost at the next start");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the state is complete when a panic could happen.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
