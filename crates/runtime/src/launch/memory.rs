//! Sealed copies of files in memory.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{MemfdFlags, SealFlags};

use super::bound::Bound;
use super::error::{LaunchError, prepare_error};
use super::executable::read_in_chunks;

/// The use of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// The kernel executes it.
    Execute,
    /// An interpreter reads it.
    Read,
}

/// Creates an empty memory file. Its users take it as a parameter, because whether memory files may be executed is a
/// setting of the whole machine.
pub(super) type CreateMemoryFile = fn(&str, Use) -> io::Result<OwnedFd>;

/// Creates an empty memory file called `name`, which must be short.
///
/// # Errors
///
/// Returns `EACCES` if the system forbids executable memory files (`vm.memfd_noexec = 2`) and `purpose` needs one.
pub(super) fn create_memory_file(name: &str, purpose: Use) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mode = match purpose {
        Use::Execute => MemfdFlags::EXEC,
        Use::Read => MemfdFlags::NOEXEC_SEAL,
    };
    match rustix::fs::memfd_create(name, flags | mode) {
        // Kernels before Linux 6.3 do not know the flags, and have no setting that demands them.
        Err(rustix::io::Errno::INVAL) => Ok(rustix::fs::memfd_create(name, flags)?),
        result => Ok(result?),
    }
}

/// Copies `file`, which was opened at `path`, into `memory` and seals the copy: no process can change it any more, ours
/// included.
///
/// # Errors
///
/// Returns the errors of [`read_in_chunks`], and [`LaunchError::Prepare`] if there is no memory for the copy.
pub(super) fn sealed_copy(
    file: &File,
    path: &Path,
    memory: OwnedFd,
    bound: &Bound,
) -> Result<File, LaunchError> {
    let mut copy = File::from(memory);
    read_in_chunks(file, path, bound, |chunk| {
        copy.write_all(chunk)
            .map_err(prepare_error("copy the executable into memory"))
    })?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&copy, seals).map_err(prepare_error("seal the copy in memory"))?;
    // The kernel executes no file that is open for writing, so a read-only descriptor takes the place of this one.
    File::open(format!("/proc/self/fd/{}", copy.as_raw_fd())).map_err(prepare_error(
        "open the copy in memory again (is /proc mounted?)",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::time::{Duration, Instant};

    #[test]
    fn a_sealed_copy_has_the_bytes_of_the_file_and_cannot_be_changed() {
        let path = Path::new("/bin/true");
        let file = File::open(path).expect("opened");
        let (bound, _guard) = Bound::new(Instant::now() + Duration::from_secs(60));
        for purpose in [Use::Execute, Use::Read] {
            let memory = create_memory_file("test", purpose).expect("a memory file");
            let copy = sealed_copy(&file, path, memory, &bound).expect("a copy");
            let copy_path = format!("/proc/self/fd/{}", copy.as_raw_fd());
            assert_eq!(
                std::fs::read(&copy_path).expect("the copy"),
                std::fs::read(path).expect("the file")
            );
            let mut writer = OpenOptions::new()
                .write(true)
                .open(copy_path)
                .expect("opened");
            let error = writer.write_all(b"x").expect_err("the copy is sealed");
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        }
    }

    #[test]
    fn copying_ends_with_its_bound() {
        let path = Path::new("/bin/true");
        let file = File::open(path).expect("opened");
        let (bound, guard) = Bound::new(Instant::now() + Duration::from_secs(60));
        drop(guard);
        let memory = create_memory_file("test", Use::Read).expect("a memory file");
        assert!(matches!(
            sealed_copy(&file, path, memory, &bound),
            Err(LaunchError::TimedOut { .. })
        ));
    }
}
