//! One daemon for one state directory.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyway_local::file::{create_private_directory, lock_within};

/// The lock of a state directory, held until it is dropped.
#[derive(Debug)]
pub(crate) struct StateLock {
    /// The kernel releases the lock with the last descriptor of this open file, however the process ends.
    file: File,
}

impl Drop for StateLock {
    fn drop(&mut self) {
        // A child that was forked and has not executed its program yet holds a copy of the descriptor. Should this fail, the lock
        // ends with that copy.
        let _ = self.file.unlock();
    }
}

/// Error of locking a state directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateLockError {
    /// Another daemon uses the directory.
    #[error("another daemon{} uses the state directory {directory}", pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default(), directory = .directory.display())]
    Locked {
        /// The directory.
        directory: PathBuf,
        /// The process of the other daemon, if it is known.
        pid: Option<u32>,
    },
    /// The directory or the lock file cannot be used.
    #[error("the state directory {directory} cannot be locked", directory = .directory.display())]
    Failed {
        /// The directory.
        directory: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
}

impl StateLock {
    /// Locks the directory, which is created if it is missing. Returns at once.
    ///
    /// # Errors
    ///
    /// Returns [`StateLockError::Locked`] if another process holds the lock, and [`StateLockError::Failed`] if the directory
    /// cannot be written.
    pub(crate) fn acquire(directory: &Path) -> Result<Self, StateLockError> {
        let failed = |source| StateLockError::Failed {
            directory: directory.into(),
            source,
        };
        create_private_directory(directory).map_err(|error| failed(io::Error::other(error)))?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            // A link could lead to a file of another kind, and a FIFO would block.
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(directory.join("lock"))
            .map_err(failed)?;
        match lock_within(&file, Duration::ZERO) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                return Err(StateLockError::Locked {
                    directory: directory.into(),
                    pid: read_pid(&mut file),
                });
            }
            Err(error) => return Err(failed(error)),
        }
        write_pid(&mut file).map_err(failed)?;
        Ok(Self { file })
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_reports_the_pid_of_the_first() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let state = directory.path().join("state");
        let lock = StateLock::acquire(&state).expect("locked");
        let error = StateLock::acquire(&state).expect_err("locked already");
        assert!(
            matches!(&error, StateLockError::Locked { pid, .. } if *pid == Some(std::process::id()))
        );
        assert!(error.to_string().contains(&std::process::id().to_string()));
        drop(lock);
        StateLock::acquire(&state).expect("free again");
    }

    #[test]
    fn a_dropped_lock_is_free_although_a_forked_child_holds_a_copy_of_its_descriptor() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let lock = StateLock::acquire(directory.path()).expect("locked");
        let _copy = lock.file.try_clone().expect("a copy");
        drop(lock);
        StateLock::acquire(directory.path()).expect("free again");
    }

    #[test]
    fn a_directory_that_cannot_be_created_is_named() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let state = directory.path().join("state");
        std::fs::write(&state, "a file").expect("written");
        let error = StateLock::acquire(&state).expect_err("a file in its place");
        assert!(matches!(&error, StateLockError::Failed { directory, .. } if *directory == state));
    }
}
