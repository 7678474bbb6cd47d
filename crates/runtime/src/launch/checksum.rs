//! The checksum of an executable that a user is about to trust.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::LAUNCH_BOUND;
use super::bound::Bound;
use super::error::{LaunchError, prepare_error};
use super::executable::{hash, open_executable, shebang};
use crate::config::Sha256;

/// The checksum of an executable, for a pin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checksum {
    /// The checksum of the file.
    pub(crate) sha256: Sha256,
    /// The interpreter that runs the file if it is a script. It is not pinned.
    pub(crate) interpreter: Option<String>,
}

/// Returns the checksum of the executable at `path`, which must be one that could run pinned.
///
/// # Errors
///
/// As a start of the file: [`LaunchError::Open`] if it is not a regular file or cannot be read, [`LaunchError::Refused`] if
/// other users can write it or it is too large, and [`LaunchError::TimedOut`] if it is not read in time.
///
/// # Cancel safety
///
/// If the future is dropped, the file is read no further.
pub(crate) async fn checksum(path: &Path) -> Result<Checksum, LaunchError> {
    let path = PathBuf::from(path);
    let (bound, cancel_on_drop) = Bound::new(Instant::now() + LAUNCH_BOUND);
    let reading = {
        let path = path.clone();
        tokio::task::spawn_blocking(move || read(&path, &bound))
    };
    let result = match tokio::time::timeout(LAUNCH_BOUND, reading).await {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => Err(prepare_error("read the executable")(error)),
        // A file system that hangs keeps the thread; the caller does not wait for it.
        Err(_) => Err(LaunchError::TimedOut {
            path,
            limit: LAUNCH_BOUND,
        }),
    };
    drop(cancel_on_drop);
    result
}

fn read(path: &Path, bound: &Bound) -> Result<Checksum, LaunchError> {
    let (file, _) = open_executable(path, false)?;
    let interpreter = shebang(&file, path)?;
    Ok(Checksum {
        sha256: hash(&file, path, bound)?,
        interpreter: interpreter.map(|shebang| shebang.interpreter.display().to_string()),
    })
}
