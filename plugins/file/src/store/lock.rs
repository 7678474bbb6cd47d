//! The write lock of a store.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use keyway_local::escape_untrusted;
use keyway_local::file::lock_within;

use super::private;
use super::steps::{self, Step};
use crate::StoreError;

/// An exclusive lock on the store; released on drop, and by the kernel when the process exits.
#[derive(Debug)]
pub(super) struct WriteLock {
    file: File,
}

impl WriteLock {
    /// Acquires the lock within `timeout`, and writes the name of this process into its file for the errors of other
    /// writers.
    pub(super) fn acquire(path: &Path, timeout: Duration) -> Result<Self, StoreError> {
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
        lock(&file, path, timeout)?;
        let mut lock = Self { file };
        lock.write_holder().map_err(StoreError::io("write", path))?;
        steps::reached(Step::Locked);
        Ok(lock)
    }

    fn write_holder(&mut self) -> io::Result<()> {
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
        // An error leaves a stale name, which only an error during the start of the next writer would show.
        let _ = self.file.set_len(0);
    }
}

fn lock(file: &File, path: &Path, timeout: Duration) -> Result<(), StoreError> {
    let started = Instant::now();
    lock_within(file, timeout).map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => StoreError::Locked {
            path: path.to_owned(),
            holder: read_holder(file),
            waited: started.elapsed(),
        },
        _ => StoreError::io("lock", path)(error),
    })
}

fn read_holder(file: &File) -> String {
    let mut name = String::new();
    let read = file.take(200).read_to_string(&mut name);
    let name = escape_untrusted(&name);
    if read.is_ok() && !name.is_empty() {
        name
    } else {
        "another process".to_owned()
    }
}
