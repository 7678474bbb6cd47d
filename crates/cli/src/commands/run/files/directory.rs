//! A directory in memory that belongs to one `keyway run`, and the removal of those that were left behind.
//!
//! Each one is locked by the processes that remove it. If all of them were killed at once, such as with their control group, the next
//! `keyway run --file` removes it.

use std::env;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, open, statfs};
use rustix::process::geteuid;

use crate::failure::Failure;

/// `TMPFS_MAGIC` and `RAMFS_MAGIC` of `linux/magic.h`.
const MEMORY_FILE_SYSTEMS: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// Attempts to lock a new directory before another process takes it for one that was left behind.
const ATTEMPTS: usize = 8;

/// A locked directory. It is not removed when dropped.
pub(super) struct Directory {
    pub(super) path: PathBuf,
    /// Locked while it, or a copy of it in another process, is open.
    pub(super) lock: OwnedFd,
}

impl Directory {
    /// Creates a directory with the mode 0700, and removes those that were left behind: in `$XDG_RUNTIME_DIR`, in
    /// `/run/user/UID` or in `/dev/shm`, whichever is the first in memory.
    ///
    /// # Errors
    ///
    /// Returns a [`Failure`] if there is no such directory, or if it cannot be written.
    pub(super) fn create() -> Result<Self, Failure> {
        let place = Place::find().ok_or_else(|| {
            Failure::error(
                "there is no directory in memory for the files of --file: $XDG_RUNTIME_DIR and /dev/shm are not on a tmpfs, or not yours",
                "Nothing was started; set XDG_RUNTIME_DIR to a directory of yours on a tmpfs",
            )
        })?;
        place.remove_abandoned();
        place.create().map_err(|error| {
            Failure::error(
                format_args!("no directory can be created in {}: {error}", place.parent.display()),
                "Nothing was started; check the permissions of that directory and the space on its file system",
            )
        })
    }

    /// Removes the directory with all files. One that is absent is removed.
    pub(super) fn remove(path: &Path) -> io::Result<()> {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }
}

/// Where directories are created.
struct Place {
    parent: PathBuf,
    prefix: String,
}

impl Place {
    fn find() -> Option<Self> {
        let uid = geteuid().as_raw();
        let own = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let own = own.filter(|path| path.is_absolute());
        let own = [own, Some(PathBuf::from(format!("/run/user/{uid}")))];
        let own = own.into_iter().flatten().filter(|path| is_own(path));
        let own = own.map(|path| Self {
            parent: path.join("keyway"),
            prefix: "run-".to_owned(),
        });
        let shared = Self {
            parent: PathBuf::from("/dev/shm"),
            prefix: format!("keyway-{uid}-run-"),
        };
        let mut places = own.chain([shared]);
        places.find(|place| place.is_in_memory())
    }

    fn is_in_memory(&self) -> bool {
        let existing = self.parent.ancestors().find(|path| path.exists());
        let kind = existing.and_then(|path| statfs(path).ok());
        kind.is_some_and(|kind| {
            u64::try_from(kind.f_type).is_ok_and(|kind| MEMORY_FILE_SYSTEMS.contains(&kind))
        })
    }

    fn create(&self) -> io::Result<Directory> {
        if self.parent.file_name().is_some_and(|name| name == "keyway") {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&self.parent)?;
        }
        for _ in 0..ATTEMPTS {
            let mut builder = tempfile::Builder::new();
            builder
                .prefix(&self.prefix)
                .permissions(Permissions::from_mode(0o700));
            let path = builder.tempdir_in(&self.parent)?.keep();
            if let Some(lock) = lock(&path) {
                return Ok(Directory { path, lock });
            }
        }
        Err(io::Error::other("other processes remove it"))
    }

    /// Removes the directories whose processes are gone. Errors leave them to the next call.
    fn remove_abandoned(&self) {
        let entries = fs::read_dir(&self.parent).into_iter().flatten().flatten();
        for entry in entries {
            let has_prefix = entry
                .file_name()
                .to_str()
                .is_some_and(|name| name.starts_with(&self.prefix));
            let path = entry.path();
            if has_prefix && is_own(&path) && lock(&path).is_some() {
                let _ = Directory::remove(&path);
            }
        }
    }
}

/// Returns `true` for a directory, and not a link to one, that this user owns and no other user can write.
fn is_own(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| {
        metadata.is_dir() && metadata.uid() == geteuid().as_raw() && metadata.mode() & 0o022 == 0
    })
}

/// Locks a directory; `None` if another process has locked or removed it.
fn lock(path: &Path) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let lock = open(path, flags, Mode::empty()).ok()?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive).ok()?;
    let locked = fstat(&lock).ok()?;
    let named = fs::symlink_metadata(path).ok()?;
    ((named.dev(), named.ino()) == (locked.st_dev, locked.st_ino)).then_some(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(parent: &Path) -> Place {
        Place {
            parent: parent.to_owned(),
            prefix: "run-".to_owned(),
        }
    }

    #[test]
    fn only_an_abandoned_directory_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path());
        let used = place.create().unwrap();
        let abandoned = place.create().unwrap();
        drop(abandoned.lock);
        fs::write(abandoned.path.join("A"), "dummy").unwrap();
        fs::create_dir(dir.path().join("other")).unwrap();
        std::os::unix::fs::symlink("other", dir.path().join("run-link")).unwrap();
        place.remove_abandoned();
        assert!(used.path.is_dir() && !abandoned.path.exists());
        assert!(dir.path().join("other").is_dir() && dir.path().join("run-link").is_symlink());
    }

    #[test]
    fn a_directory_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let created = place(dir.path()).create().unwrap();
        let mode = fs::metadata(&created.path).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o700);
        assert!(is_own(&created.path));
        fs::set_permissions(&created.path, Permissions::from_mode(0o770)).unwrap();
        assert!(!is_own(&created.path));
    }

    #[test]
    fn a_removed_directory_is_not_locked() {
        let dir = tempfile::tempdir().unwrap();
        let created = place(dir.path()).create().unwrap();
        assert!(lock(&created.path).is_none());
        Directory::remove(&created.path).unwrap();
        assert!(lock(&created.path).is_none());
        Directory::remove(&created.path).unwrap();
    }
}
