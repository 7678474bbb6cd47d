//! Files that only their owner can read: opened with checks, written atomically and durably.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::rand::{GetRandomFlags, getrandom};
use zeroize::Zeroizing;

use super::steps::{self, Step};
use crate::StoreError;

/// Extension of files that a writer has not finished.
pub(super) const TEMPORARY: &str = ".tmp";

/// Opens a regular file of this user that no other user can read or write; `None` if it does not exist.
pub(super) fn open(path: &Path) -> Result<Option<(File, Metadata)>, StoreError> {
    // Without NONBLOCK, opening a FIFO would wait forever for its writer.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("open", path)(error)),
    };
    let metadata = file.metadata().map_err(StoreError::io("examine", path))?;
    if !metadata.is_file() {
        return Err(StoreError::NotA {
            path: path.to_owned(),
            expected: "regular file",
        });
    }
    check_private(path, &metadata)?;
    Ok(Some((file, metadata)))
}

/// Returns an error for a file of another user, or one that other users can read or write.
pub(super) fn check_private(path: &Path, metadata: &Metadata) -> Result<(), StoreError> {
    check_owner(path, metadata)?;
    match metadata.mode() & 0o077 {
        0 => Ok(()),
        _ => Err(StoreError::Exposed {
            path: path.to_owned(),
            mode: metadata.mode() & 0o7777,
            dir: false,
        }),
    }
}

fn check_owner(path: &Path, metadata: &Metadata) -> Result<(), StoreError> {
    let user = rustix::process::geteuid().as_raw();
    match metadata.uid() {
        owner if owner == user => Ok(()),
        owner => Err(StoreError::ForeignOwner {
            path: path.to_owned(),
            owner,
            user,
        }),
    }
}

/// Checks that `dir` is a directory of this user in which no other user can replace files; `false` if it does not exist.
///
/// Other users may list it: the contents are protected by the modes of the files, and the default directory also holds
/// files that are not secret.
pub(super) fn check_dir(dir: &Path) -> Result<bool, StoreError> {
    let metadata = match fs::metadata(dir) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(StoreError::io("examine", dir)(error)),
    };
    if !metadata.is_dir() {
        return Err(StoreError::NotA {
            path: dir.to_owned(),
            expected: "directory",
        });
    }
    check_owner(dir, &metadata)?;
    match metadata.mode() & 0o022 {
        0 => Ok(true),
        _ => Err(StoreError::Exposed {
            path: dir.to_owned(),
            mode: metadata.mode() & 0o7777,
            dir: true,
        }),
    }
}

/// Creates `dir` and its parents with mode 0700, and checks it.
pub(super) fn create_dir(dir: &Path) -> Result<(), StoreError> {
    if !check_dir(dir)? {
        let created = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        created.map_err(StoreError::io("create the directory", dir))?;
        check_dir(dir)?;
        if let Some(parent) = dir.parent() {
            sync_dir(parent)?;
        }
    }
    Ok(())
}

/// Reads the file at `path`, which must be private and have at most `limit` bytes; `None` if it does not exist.
pub(super) fn load(path: &Path, limit: u64) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
    let opened = open(path)?;
    opened
        .map(|(file, metadata)| read(path, &file, &metadata, limit))
        .transpose()
}

/// Reads all of an opened file, at most `limit` bytes.
pub(super) fn read(
    path: &Path,
    file: &File,
    metadata: &Metadata,
    limit: u64,
) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let size = metadata.len();
    if size > limit {
        let reason = format!("it has {size} bytes, more than the limit of {limit}");
        return Err(StoreError::corrupt(path, reason));
    }
    // With enough capacity, reading never reallocates the buffer and leaves no copies behind.
    let capacity = usize::try_from(size).unwrap_or(usize::MAX);
    let mut content = Zeroizing::new(Vec::with_capacity(capacity));
    file.take(size)
        .read_to_end(&mut content)
        .map_err(StoreError::io("read", path))?;
    Ok(content)
}

/// Writes a new file and makes its content durable. The name must be new.
pub(super) fn create(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(path).map_err(StoreError::io("create", path))?;
    let half = content.len() / 2;
    let written = file
        .write_all(&content[..half])
        .inspect(|()| steps::reached(Step::HalfWritten))
        .and_then(|()| file.write_all(&content[half..]))
        .inspect(|()| steps::reached(Step::Written))
        .and_then(|()| file.sync_all())
        .inspect(|()| steps::reached(Step::Synced));
    written.map_err(|error| {
        // The error of the write is the one to report; the next writer removes unfinished files.
        let _ = fs::remove_file(path);
        StoreError::io("write", path)(error)
    })
}

/// Removes a file durably, if it exists.
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Ok(()) => {
            steps::reached(Step::Removed);
            sync_dir(path.parent().unwrap_or(Path::new(".")))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StoreError::io("remove", path)(error)),
    }
}

/// Replaces `path` by a file with this content. A crash at any time leaves the old content or the new one.
pub(super) fn replace(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let temporary = dir.join(temporary_name()?);
    create(&temporary, content)?;
    if let Err(error) = fs::rename(&temporary, path) {
        // As above: the next writer removes unfinished files.
        let _ = fs::remove_file(&temporary);
        return Err(StoreError::io("replace", path)(error));
    }
    steps::reached(Step::Renamed);
    sync_dir(dir)
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(StoreError::io("make durable", dir))?;
    steps::reached(Step::DirSynced);
    Ok(())
}

/// Returns the paths in a directory; none if the directory does not exist.
pub(super) fn names(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    match fs::read_dir(dir) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<_>>()
            .map_err(StoreError::io("list", dir)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(StoreError::io("list", dir)(error)),
    }
}

/// Returns the name of an unfinished file or directory, which the next writer removes.
pub(super) fn temporary_name() -> Result<String, StoreError> {
    Ok(format!(".{}{TEMPORARY}", random_name()?))
}

/// Returns 128 random bits in hexadecimal.
pub(super) fn random_name() -> Result<String, StoreError> {
    use std::fmt::Write as _;

    let mut bytes = [0; 16];
    let mut filled = 0;
    while filled < bytes.len() {
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty())
            .map_err(|error| StoreError::Random(error.into()))?;
    }
    Ok(bytes
        .iter()
        .fold(String::with_capacity(32), |mut name, byte| {
            // Writing into a string cannot fail.
            let _ = write!(name, "{byte:02x}");
            name
        }))
}
