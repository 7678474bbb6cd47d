//! One writer at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::private;
use super::steps::{self, Step};
use crate::StoreError;

/// Between two looks at a lock that somebody else holds: first short, because a write takes milliseconds.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// The longest time between two looks.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// The right to write; given back when dropped, and by the kernel when the process dies.
#[derive(Debug)]
pub(super) struct WriteLock {
    file: File,
}

impl WriteLock {
    /// Waits for the lock at most `wait`, and writes our name into its file for those who wait for us.
    pub(super) fn acquire(path: &Path, wait: Duration) -> Result<Self, StoreError> {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        let file = options.open(path).map_err(StoreError::io("open", path))?;
        let metadata = file.metadata().map_err(StoreError::io("examine", path))?;
        private::check_private(path, &metadata)?;
        wait_for(&file, path, wait)?;
        let mut lock = Self { file };
        lock.sign().map_err(StoreError::io("write", path))?;
        steps::reached(Step::Locked);
        Ok(lock)
    }

    fn sign(&mut self) -> std::io::Result<()> {
        let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("a program"));
        let program = program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file
            .write_all(format!("process {} ({program})", std::process::id()).as_bytes())
    }
}

impl Drop for WriteLock {
    fn drop(&mut self) {
        // A stale name would only be shown to somebody who meets the next holder before it has signed.
        let _ = self.file.set_len(0);
    }
}

fn wait_for(file: &File, path: &Path, wait: Duration) -> Result<(), StoreError> {
    let started = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(StoreError::io("lock", path)(error)),
            Err(TryLockError::WouldBlock) => {}
        }
        let waited = started.elapsed();
        if waited >= wait {
            return Err(StoreError::Locked {
                path: path.to_owned(),
                holder: holder(file),
                waited,
            });
        }
        // The kernel offers no wait for a file lock that has a bound and needs neither a thread nor a signal.
        std::thread::sleep(pause.min(wait - waited));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn holder(file: &File) -> String {
    let mut name = String::new();
    let read = file.take(200).read_to_string(&mut name);
    let printable = !name.is_empty() && name.chars().all(|c| !c.is_control());
    if read.is_ok() && printable {
        name
    } else {
        "another process".to_owned()
    }
}
