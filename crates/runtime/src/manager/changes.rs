//! Changes on disk, as far as the system has room for a file watcher.

use std::path::PathBuf;
use std::time::Duration;

use keyway_local::{Pauses, with_causes};
use tokio::time::Instant;

use super::watcher::{FileWatcher, WatchError};
use crate::wait::until;

/// The first and the longest pause before the next attempt to create a watcher.
const RETRY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));

/// Notices changes on disk. Where not everything can be watched, that is logged once, and tried again after growing pauses.
#[derive(Debug)]
pub(super) struct DiskChanges {
    watcher: Option<FileWatcher>,
    pauses: Pauses,
    /// The time of the next attempt to watch everything; `None` if everything is watched.
    retry_at: Option<Instant>,
    is_reported: bool,
}

impl DiskChanges {
    /// Creates a value that watches nothing.
    pub(super) fn new() -> Self {
        Self {
            watcher: None,
            pauses: Pauses::between(RETRY.0, RETRY.1),
            retry_at: None,
            is_reported: false,
        }
    }

    /// Watches `directories` as they are now. Blocks.
    pub(super) fn watch(&mut self, directories: &[PathBuf]) {
        let result = Self::try_watch(&mut self.watcher, directories);
        self.note(result);
    }

    /// Watches nothing any more.
    pub(super) fn stop(&mut self) {
        *self = Self::new();
    }

    /// Resolves when something that matters has changed, or may have because it was not watched.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no change.
    pub(super) async fn changed(&mut self) {
        let changed = async {
            match &mut self.watcher {
                Some(watcher) => watcher.changed().await,
                None => std::future::pending().await,
            }
        };
        let result = tokio::select! {
            changed = changed => changed,
            () = until(self.retry_at) => Ok(()),
        };
        if let Err(error) = result {
            tracing::warn!(%error, "file watcher failed and is started again");
            self.watcher = None;
        }
    }

    fn try_watch(
        watcher: &mut Option<FileWatcher>,
        directories: &[PathBuf],
    ) -> Result<(), WatchError> {
        let watcher = match watcher {
            Some(watcher) => watcher,
            None => watcher.insert(FileWatcher::new()?),
        };
        watcher.watch(directories)
    }

    fn note(&mut self, result: Result<(), WatchError>) {
        let Err(error) = result else {
            self.retry_at = None;
            self.pauses = Pauses::between(RETRY.0, RETRY.1);
            if std::mem::take(&mut self.is_reported) {
                tracing::info!("everything is watched again");
            }
            return;
        };
        self.retry_at = self.pauses.next().map(|pause| Instant::now() + pause);
        if !std::mem::replace(&mut self.is_reported, true) {
            tracing::warn!(error = %with_causes(&error), "not every change of plugins is noticed: run `keyway plugins reload` after one");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io};

    fn unavailable() -> Result<(), WatchError> {
        Err(WatchError::Unavailable(io::Error::from_raw_os_error(
            libc::EMFILE,
        )))
    }

    #[tokio::test(start_paused = true)]
    async fn a_watcher_that_the_system_has_no_room_for_is_tried_again_after_growing_pauses() {
        let mut changes = DiskChanges::new();
        for seconds in [10, 20, 40, 80, 160, 300, 300] {
            changes.note(unavailable());
            let begin = Instant::now();
            changes.changed().await;
            assert_eq!(begin.elapsed().as_secs(), seconds);
        }
        changes.note(Ok(()));
        assert_eq!(changes.retry_at, None);
        changes.note(unavailable());
        let begin = Instant::now();
        changes.changed().await;
        assert_eq!(begin.elapsed(), RETRY.0);
    }

    #[tokio::test]
    async fn watching_again_keeps_the_watcher_and_loses_no_change() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let directories = [directory.path().join("one"), directory.path().join("two")];
        for path in &directories {
            fs::create_dir(path).expect("a directory");
        }
        let mut changes = DiskChanges::new();
        changes.watch(&directories);
        fs::write(directories[0].join("plugin"), "text").expect("written");
        changes.watch(&directories);
        tokio::time::timeout(Duration::from_secs(20), changes.changed())
            .await
            .expect("a change");
        // Neither changes of a place that is no longer watched are reported, nor the end of the watch.
        changes.watch(&directories[1..]);
        fs::write(directories[0].join("plugin"), "other text").expect("written");
        tokio::time::timeout(Duration::from_secs(1), changes.changed())
            .await
            .expect_err("nothing of interest happened");
    }

    #[tokio::test]
    async fn a_place_that_cannot_be_watched_leaves_the_others_watched() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        // A name that is too long cannot be watched, for root as well.
        let unwatchable = directory.path().join("x".repeat(300));
        let mut changes = DiskChanges::new();
        changes.watch(&[unwatchable, directory.path().to_owned()]);
        assert!(changes.retry_at.is_some());
        fs::write(directory.path().join("plugin"), "text").expect("written");
        tokio::time::timeout(Duration::from_secs(8), changes.changed())
            .await
            .expect("a change");
    }
}
