//! What the daemon remembers while it runs, and the thread that writes it down.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::watch;

use crate::model::PluginName;
use crate::model::state::{PluginState, State, StateFull};

use super::StateFile;

/// The state of a running daemon. Reading and changing it never waits for the disk: a thread of its own writes the newest
/// state, and changes that come while it writes share the next write.
#[derive(Debug)]
pub(crate) struct Memory {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    inner: Mutex<Inner>,
    changed: Condvar,
    /// How many changes the writer has seen, written or not.
    n_handled: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    /// Counts the changes.
    n_changes: u64,
    is_closed: bool,
}

impl Memory {
    /// Reads the state in `directory`, and starts the thread that writes it. Blocks.
    ///
    /// # Errors
    ///
    /// Returns the error of the operating system if the thread cannot be started.
    pub(crate) fn open(directory: &Path) -> std::io::Result<Self> {
        let file = StateFile::new(directory);
        let shared = Arc::new(Shared {
            inner: Mutex::new(Inner {
                state: file.read(),
                n_changes: 0,
                is_closed: false,
            }),
            changed: Condvar::new(),
            n_handled: watch::Sender::new(0),
        });
        let writer = std::thread::Builder::new().name("state".into()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.write_until_closed(&file)
        })?;
        Ok(Self {
            shared,
            writer: Some(writer),
        })
    }

    /// Returns what is remembered now.
    pub(crate) fn state(&self) -> State {
        self.shared.lock().state.clone()
    }

    /// Returns what is remembered of `name`.
    pub(crate) fn plugin(&self, name: &PluginName) -> PluginState {
        self.shared.lock().state.plugin(name)
    }

    /// Changes what is remembered of `name`; returns whether anything differs.
    ///
    /// # Errors
    ///
    /// Returns [`StateFull`] if there is no space for a new name; nothing is changed.
    pub(crate) fn update(
        &self,
        name: &PluginName,
        change: impl FnOnce(&mut PluginState),
    ) -> Result<bool, StateFull> {
        let mut inner = self.shared.lock();
        let has_changed = inner.state.update(name, change)?;
        if has_changed {
            inner.n_changes += 1;
            self.shared.changed.notify_one();
        }
        Ok(has_changed)
    }

    /// As [`update`](Self::update); a lack of space is logged.
    pub(crate) fn remember(&self, name: &PluginName, change: impl FnOnce(&mut PluginState)) {
        if let Err(error) = self.update(name, change) {
            tracing::error!(plugin = %name, %error, "plugin not remembered for the next start");
        }
    }

    /// Waits until every change up to now is on disk, or could not be written, which is logged.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the wait and nothing else.
    pub(crate) async fn flush(&self) {
        let n_changes = self.shared.lock().n_changes;
        let mut n_handled = self.shared.n_handled.subscribe();
        // The sender lives as long as `self`.
        let _ = n_handled.wait_for(|handled| *handled >= n_changes).await;
    }
}

/// Waits until the newest state is written or could not be.
impl Drop for Memory {
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.changed.notify_one();
        if let Some(writer) = self.writer.take() {
            // A panic of the thread was reported by its hook.
            let _ = writer.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change of the state is complete when a panic could happen.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_until_closed(&self, file: &StateFile) {
        let mut has_failed = false;
        let mut n_written = 0;
        while let Some((state, n_changes)) = self.next(n_written) {
            n_written = n_changes;
            match file.write(&state) {
                Ok(()) => has_failed = false,
                // Once for each time that it begins to fail.
                Err(_) if has_failed => {}
                Err(error) => {
                    has_failed = true;
                    tracing::error!(
                        %error,
                        "state file not written: the daemon will not remember after a restart what was disabled, enabled or trusted"
                    );
                }
            }
            self.n_handled.send_replace(n_written);
        }
    }

    /// Waits for a state with more changes than were written, and returns it with their number; `None` if there is none and
    /// the memory was dropped.
    fn next(&self, n_written: u64) -> Option<(State, u64)> {
        let mut inner = self.lock();
        loop {
            if inner.n_changes > n_written {
                return Some((inner.state.clone(), inner.n_changes));
            }
            if inner.is_closed {
                return None;
            }
            inner = self
                .changed
                .wait(inner)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> PluginName {
        text.parse().expect("a name")
    }

    #[test]
    fn changes_are_seen_at_once_and_written_when_the_memory_is_dropped() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let memory = Memory::open(directory.path()).expect("a thread");
        for number in 0..20 {
            let plugin = name(&format!("plugin-{number}"));
            let changed = memory.update(&plugin, |plugin| plugin.set_decision(Some(false)));
            assert_eq!(changed, Ok(true));
            assert_eq!(memory.plugin(&plugin).decision(), Some(false));
        }
        let state = memory.state();
        drop(memory);
        assert_eq!(StateFile::new(directory.path()).read(), state);
    }

    #[test]
    fn an_unwritable_directory_keeps_the_state_of_this_run() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let below_a_file = directory.path().join("file");
        std::fs::write(&below_a_file, "a file").expect("written");
        let memory = Memory::open(&below_a_file).expect("a thread");
        let changed = memory.update(&name("pass"), |plugin| plugin.set_decision(Some(false)));
        assert_eq!(changed, Ok(true));
        assert_eq!(memory.plugin(&name("pass")).decision(), Some(false));
    }

    #[tokio::test]
    async fn a_flushed_change_is_on_disk() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let memory = Memory::open(directory.path()).expect("a thread");
        memory.flush().await;
        let changed = memory.update(&name("pass"), |plugin| plugin.set_decision(Some(false)));
        assert_eq!(changed, Ok(true));
        memory.flush().await;
        assert_eq!(StateFile::new(directory.path()).read(), memory.state());
    }

    #[test]
    fn without_a_change_nothing_is_written() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let memory = Memory::open(directory.path()).expect("a thread");
        assert_eq!(memory.update(&name("pass"), |_| {}), Ok(false));
        drop(memory);
        assert!(!directory.path().join("state.json").exists());
    }
}
