//! The file that is to run, opened and checked.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use keyway_local::file::{OpenError, check_opened, open_regular};
use sha2::{Digest, Sha256 as Hasher};

use super::bound::Bound;
use super::error::{LaunchError, Refusal};
use super::script::{HEAD_LEN, Shebang};
use crate::config::Sha256;

/// The largest executable that is hashed. A larger one cannot be pinned, and may run without a pin.
pub(super) const MAX_PINNED_LEN: u64 = 256 << 20;

/// Bytes that are read between two checks of the bound.
const CHUNK_LEN: usize = 64 * 1024;

/// Opens the executable at `path` and checks that only we and root could have written it, unless it `is_built_in`. The
/// owner and the mode are those of the descriptor that is returned, with the length of the file.
///
/// # Errors
///
/// Returns [`LaunchError::Open`] if the file is not a regular one or cannot be opened, [`LaunchError::Execute`] if no
/// permission bit lets it run, and [`LaunchError::Refused`] if other users could have written it.
pub(super) fn open_executable(path: &Path, is_built_in: bool) -> Result<(File, u64), LaunchError> {
    let file = open_regular(path, u64::MAX)?;
    let metadata = file.metadata().map_err(|source| unreadable(path, source))?;
    if metadata.mode() & 0o111 == 0 {
        return Err(LaunchError::Execute {
            path: path.into(),
            source: io::Error::from_raw_os_error(libc::EACCES),
        });
    }
    if !is_built_in {
        check_opened(&file, path).map_err(Refusal::Owners)?;
    }
    Ok((file, metadata.len()))
}

/// Returns the first bytes of `file`, by which the kernel decides how to execute it.
pub(super) fn head(file: &File, path: &Path) -> Result<Vec<u8>, LaunchError> {
    let mut head = vec![0; HEAD_LEN];
    let mut len = 0;
    while len < HEAD_LEN {
        match file.read_at(&mut head[len..], len as u64) {
            Ok(0) => break,
            Ok(n_read) => len += n_read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(unreadable(path, source)),
        }
    }
    head.truncate(len);
    Ok(head)
}

/// Passes `file` from its beginning to `sink` in chunks.
///
/// # Errors
///
/// Returns [`Refusal::TooLarge`] above [`MAX_PINNED_LEN`], [`LaunchError::TimedOut`] when `bound` has elapsed, and the errors of
/// reading and of `sink`.
pub(super) fn read_in_chunks(
    file: &File,
    path: &Path,
    bound: &Bound,
    mut sink: impl FnMut(&[u8]) -> Result<(), LaunchError>,
) -> Result<(), LaunchError> {
    let mut chunk = vec![0; CHUNK_LEN];
    let mut offset = 0;
    loop {
        if bound.must_end() {
            return Err(LaunchError::TimedOut {
                path: path.into(),
                limit: super::LAUNCH_BOUND,
            });
        }
        let n_read = match file.read_at(&mut chunk, offset) {
            Ok(0) => return Ok(()),
            Ok(n_read) => n_read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(unreadable(path, source)),
        };
        offset += n_read as u64;
        if offset > MAX_PINNED_LEN {
            return Err(too_large());
        }
        sink(&chunk[..n_read])?;
    }
}

/// Returns the checksum of `file`. Blocks, at most until `bound` has elapsed.
///
/// # Errors
///
/// As [`read_in_chunks`].
pub(super) fn hash(file: &File, path: &Path, bound: &Bound) -> Result<Sha256, LaunchError> {
    let metadata = file.metadata().map_err(|source| unreadable(path, source))?;
    if metadata.len() > MAX_PINNED_LEN {
        return Err(too_large());
    }
    let mut hasher = Hasher::new();
    read_in_chunks(file, path, bound, |chunk| {
        hasher.update(chunk);
        Ok(())
    })?;
    Ok(Sha256(hasher.finalize().into()))
}

/// Returns the interpreter and its argument if `file` is a script.
pub(super) fn shebang(file: &File, path: &Path) -> Result<Option<Shebang>, LaunchError> {
    Ok(Shebang::parse(&head(file, path)?))
}

fn too_large() -> LaunchError {
    LaunchError::Refused(Refusal::TooLarge {
        max_len: MAX_PINNED_LEN,
    })
}

fn unreadable(path: &Path, source: io::Error) -> LaunchError {
    LaunchError::Open(OpenError::Io {
        path: path.into(),
        source,
    })
}
