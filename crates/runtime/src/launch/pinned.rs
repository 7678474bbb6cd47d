//! Running exactly the program whose checksum was configured.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, SealFlags};
use sha2::{Digest, Sha256 as Hasher};

use super::LaunchError;
use crate::config::Sha256;

/// A copy of an executable in memory that nobody can change any more, us included.
///
/// The copy is hashed, not the file: whatever happens to the file afterwards, what runs is what was checked.
#[derive(Debug)]
pub(super) struct PinnedCopy(OwnedFd);

impl PinnedCopy {
    /// Copies the executable at `path` if it has the checksum `expected`.
    ///
    /// # Errors
    ///
    /// When it has another one, or cannot be copied.
    pub(super) fn make(path: &Path, expected: Sha256) -> Result<Self, LaunchError> {
        let failed = |source| LaunchError::Execute {
            path: path.into(),
            source,
        };
        let (copy, actual) = copy_and_hash(path).map_err(failed)?;
        if actual != expected {
            return Err(LaunchError::Checksum {
                path: path.into(),
                expected,
                actual,
            });
        }
        Ok(Self(copy))
    }

    /// The path by which the forked child executes the copy. The descriptor closes with `exec`, so an interpreter script,
    /// which its interpreter would have to open again, cannot be pinned.
    pub(super) fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }
}

/// The checksum of the file at `path`. Blocks.
///
/// # Errors
///
/// When it cannot be read.
pub(crate) fn checksum(path: &Path) -> io::Result<Sha256> {
    hash(&mut File::open(path)?)
}

fn copy_and_hash(path: &Path) -> io::Result<(OwnedFd, Sha256)> {
    let mut source = File::open(path)?;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Where the system forbids executable memory files unless asked for, ask; older kernels do not know the flag.
    let memory = rustix::fs::memfd_create("keyway-plugin", flags | MemfdFlags::EXEC)
        .or_else(|_| rustix::fs::memfd_create("keyway-plugin", flags))?;
    let mut copy = File::from(memory);
    io::copy(&mut source, &mut copy)?;
    copy.flush()?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&copy, seals)?;
    let checksum = hash(&mut copy)?;
    // The kernel executes no file that somebody holds open for writing, so a read-only descriptor takes its place.
    let read_only = File::open(format!("/proc/self/fd/{}", copy.as_raw_fd()))?;
    Ok((read_only.into(), checksum))
}

fn hash(file: &mut File) -> io::Result<Sha256> {
    file.seek(SeekFrom::Start(0))?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Sha256(hasher.finalize().into())),
            n_read => hasher.update(&buffer[..n_read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l16_only_the_pinned_content_runs() {
        let path = Path::new("/bin/true");
        let expected = checksum(path).expect("a checksum");
        let copy = PinnedCopy::make(path, expected).expect("pinned");
        let status = std::process::Command::new(copy.path()).status();
        assert!(status.expect("it runs").success());
        let error = PinnedCopy::make(Path::new("/bin/false"), expected)
            .expect_err("refused")
            .to_string();
        assert!(
            error.contains("/bin/false") && error.contains(&expected.to_string()),
            "{error}"
        );
    }

    #[test]
    fn the_copy_cannot_be_changed() {
        let path = Path::new("/bin/true");
        let copy = PinnedCopy::make(path, checksum(path).expect("a checksum")).expect("pinned");
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .open(copy.path())
            .expect("opened");
        let error = file.write(b"x").expect_err("the copy is sealed");
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }
}
