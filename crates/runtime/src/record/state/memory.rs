//! The daemon's memory while it runs, and the thread that writes it to disk.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keyway_local::{Pauses, with_causes};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::model::PluginName;
use crate::model::state::{PluginState, State, StateFull};

use super::StateFile;

/// Limit for writing a change to disk.
const WRITE_LIMIT: Duration = Duration::from_secs(2);

/// The time for which the end of the daemon waits for the last change.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// The first and the longest pause before a state that could not be written is written again.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The state of a running daemon. Reading and changing it never waits for the disk: a thread of its own writes the newest
/// state, and changes that come while it writes share the next write. A failed write is repeated later.
#[derive(Debug)]
pub(crate) struct Memory {
    shared: Arc<Shared>,
    directory: PathBuf,
}

/// A change that is not on disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the change is in force, but a restart of the daemon undoes it, because the state in {} is not written: {reason}. Make room \
     there; the daemon tries again by itself", directory.display()
)]
pub struct NotWritten {
    directory: PathBuf,
    reason: String,
}

#[derive(Debug)]
struct Shared {
    inner: Mutex<Inner>,
    changed: Condvar,
    handled: watch::Sender<Handled>,
}

/// The progress of the writer.
#[derive(Debug, Default)]
struct Handled {
    /// Number of changes that it has seen, written or not.
    n_changes: u64,
    /// The reason why they are not on disk, if they are not.
    failure: Option<String>,
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
            handled: watch::Sender::default(),
        });
        std::thread::Builder::new().name("state".into()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.write_until_closed(&file)
        })?;
        Ok(Self {
            shared,
            directory: directory.into(),
        })
    }

    /// Returns the current state.
    pub(crate) fn state(&self) -> State {
        self.shared.lock().state.clone()
    }

    /// Returns the remembered facts of `name`.
    pub(crate) fn plugin(&self, name: &PluginName) -> PluginState {
        self.shared.lock().state.plugin(name)
    }

    /// Changes the remembered facts of `name`; returns whether anything differs.
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

    /// Waits until every change up to now is on disk, for two seconds at most.
    ///
    /// # Errors
    ///
    /// Returns [`NotWritten`] if it could not be written, or not in time. It is written later, if that becomes possible.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the wait and nothing else.
    pub(crate) async fn flush(&self) -> Result<(), NotWritten> {
        let n_changes = self.shared.lock().n_changes;
        let mut handled = self.shared.handled.subscribe();
        let written = handled.wait_for(|handled| handled.n_changes >= n_changes);
        let failure = match timeout(WRITE_LIMIT, written).await {
            Ok(Ok(handled)) => handled.failure.clone(),
            // The sender lives as long as `self`.
            Ok(Err(_)) => None,
            Err(_elapsed) => Some("the disk does not respond".into()),
        };
        failure.map_or(Ok(()), |reason| {
            Err(NotWritten {
                directory: self.directory.clone(),
                reason,
            })
        })
    }

    /// Waits until the newest state is on disk, for a second at most, before the daemon ends.
    pub(crate) async fn close(&self) {
        // The failure was logged.
        let _ = timeout(CLOSE_LIMIT, self.flush()).await;
    }
}

/// Ends the thread when it has written the newest state. A disk that hangs does not hold up the process.
impl Drop for Memory {
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.changed.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change of the state is complete when a panic could happen.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_until_closed(&self, file: &StateFile) {
        let pauses = || Pauses::between(RETRY.0, RETRY.1);
        let mut retries = None;
        let mut n_written = 0;
        while let Some((state, n_changes)) =
            self.next(n_written, retries.as_mut().and_then(Pauses::next))
        {
            n_written = n_changes;
            let result = file.write(&state);
            let failure = result.as_ref().err().map(|error| with_causes(error));
            match &failure {
                None if retries.take().is_some() => tracing::info!("state file is written again"),
                None => {}
                // Once for each time that it begins to fail.
                Some(_) if retries.is_some() => {}
                Some(error) => {
                    retries = Some(pauses());
                    tracing::error!(
                        %error,
                        "state file not written: the daemon will not remember after a restart what was disabled, enabled or trusted"
                    );
                }
            }
            self.handled.send_replace(Handled { n_changes, failure });
        }
    }

    /// Waits for a state with more changes than were written, or, if that failed, for the end of the pause. Returns the state with
    /// the number of its changes; `None` if there are none and the memory was dropped.
    fn next(&self, n_written: u64, pause: Option<Duration>) -> Option<(State, u64)> {
        let inner = self.lock();
        let is_idle = |inner: &mut Inner| inner.n_changes <= n_written && !inner.is_closed;
        let (inner, is_due) = match pause {
            None => {
                let waited = self.changed.wait_while(inner, is_idle);
                (waited.unwrap_or_else(PoisonError::into_inner), false)
            }
            Some(pause) => {
                let waited = self.changed.wait_timeout_while(inner, pause, is_idle);
                let (inner, result) = waited.unwrap_or_else(PoisonError::into_inner);
                (inner, result.timed_out())
            }
        };
        let has_changed = inner.n_changes > n_written;
        (has_changed || is_due).then(|| (inner.state.clone(), inner.n_changes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> PluginName {
        text.parse().expect("a name")
    }

    #[tokio::test]
    async fn changes_are_seen_at_once_and_written_when_the_memory_is_closed() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let memory = Memory::open(directory.path()).expect("a thread");
        for number in 0..20 {
            let plugin = name(&format!("plugin-{number}"));
            let changed = memory.update(&plugin, |plugin| plugin.set_decision(Some(false)));
            assert_eq!(changed, Ok(true));
            assert_eq!(memory.plugin(&plugin).decision(), Some(false));
        }
        memory.close().await;
        assert_eq!(StateFile::new(directory.path()).read(), memory.state());
    }

    #[tokio::test]
    async fn a_change_that_cannot_be_written_is_reported_kept_for_this_run_and_written_later() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let below_a_file = directory.path().join("file");
        std::fs::write(&below_a_file, "a file").expect("written");
        let memory = Memory::open(&below_a_file).expect("a thread");
        let changed = memory.update(&name("pass"), |plugin| plugin.set_decision(Some(false)));
        assert_eq!(changed, Ok(true));
        assert_eq!(memory.plugin(&name("pass")).decision(), Some(false));
        let error = memory.flush().await.expect_err("a file in its place");
        let path = below_a_file.display().to_string();
        assert!(error.to_string().contains(&path), "{error}");
        std::fs::remove_file(&below_a_file).expect("removed");
        // The file is there before its thread has reported it, so a flush right after the file was seen may still fail.
        let mut handled = memory.shared.handled.subscribe();
        let retried = handled.wait_for(|handled| handled.failure.is_none());
        let retried = timeout(Duration::from_secs(60), retried).await;
        retried.expect("in time").expect("the thread runs");
        memory.flush().await.expect("written");
        assert_eq!(StateFile::new(&below_a_file).read(), memory.state());
    }

    #[tokio::test]
    async fn a_flushed_change_is_on_disk() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let memory = Memory::open(directory.path()).expect("a thread");
        memory.flush().await.expect("written");
        let changed = memory.update(&name("pass"), |plugin| plugin.set_decision(Some(false)));
        assert_eq!(changed, Ok(true));
        memory.flush().await.expect("written");
        assert_eq!(StateFile::new(directory.path()).read(), memory.state());
    }

    #[tokio::test]
    async fn without_a_change_nothing_is_written() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let memory = Memory::open(directory.path()).expect("a thread");
        assert_eq!(memory.update(&name("pass"), |_| {}), Ok(false));
        memory.close().await;
        assert!(!directory.path().join("state.json").exists());
    }
}
