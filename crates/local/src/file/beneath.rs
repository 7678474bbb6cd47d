//! Opening a file below a directory whose relative path comes from a peer.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

use super::FileKind;

/// Limit for further attempts to resolve the path if a directory was moved meanwhile.
const MAX_ATTEMPTS: usize = 16;

/// Error of [`open_beneath`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenBeneathError {
    /// The operating system returned an error.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A link leads out of the directory, or the path has a link and the kernel cannot tell where it leads.
    #[error("a link leads out of the directory")]
    Link,
    /// The path leads to something other than a regular file.
    #[error("{0} is not a regular file")]
    NotRegular(FileKind),
    /// The path is empty or absolute, or a component is empty, `.`, `..` or contains NUL.
    #[error("not a plain relative path")]
    Path,
}

/// Opens the regular file at a relative path below a directory for reading. Neither the path nor a link, nor another process
/// that moves directories meanwhile, can lead out of the directory.
///
/// Links within the directory are followed by kernels with `openat2` (Linux 5.6) and refused on others. Returns at once for a
/// FIFO without a writer.
///
/// # Errors
///
/// Returns [`OpenBeneathError`]: `Path` and `Link` for a path or a link that could lead out of the directory, `NotRegular` for a
/// directory, FIFO, socket or device, and `Io` if the file cannot be opened.
pub fn open_beneath(directory: impl AsFd, path: &Path) -> Result<File, OpenBeneathError> {
    check_path(path)?;
    let directory = directory.as_fd();
    let opened = match open_resolved(directory, path) {
        // Old kernels, and sandboxes that do not know the system call.
        Err(Errno::NOSYS | Errno::PERM) => open_in_steps(directory, path),
        opened => opened,
    };
    match opened {
        Ok(file) => require_regular(file.into()),
        Err(Errno::XDEV) => Err(OpenBeneathError::Link),
        // A socket cannot be opened at all.
        Err(Errno::NXIO) => Err(OpenBeneathError::NotRegular(FileKind::Socket)),
        Err(error) => Err(io::Error::from(error).into()),
    }
}

/// Does not rely on [`Path::components`], which drops `.` and empty components.
fn check_path(path: &Path) -> Result<(), OpenBeneathError> {
    let is_plain =
        |component: &[u8]| !matches!(component, b"" | b"." | b"..") && !component.contains(&b'\0');
    let mut components = path.as_os_str().as_bytes().split(|byte| *byte == b'/');
    match components.all(is_plain) {
        true => Ok(()),
        false => Err(OpenBeneathError::Path),
    }
}

fn flags() -> OFlags {
    OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY
}

/// Lets the kernel resolve the whole path.
fn open_resolved(directory: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let mut result = Err(Errno::AGAIN);
    for _ in 0..MAX_ATTEMPTS {
        result = openat2(directory, path, flags(), Mode::empty(), resolve);
        if !matches!(result, Err(Errno::AGAIN | Errno::INTR)) {
            break;
        }
    }
    result
}

/// Opens one component after the other. `EXDEV` if one is a link.
fn open_in_steps(directory: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let mut parent: Option<OwnedFd> = None;
    let mut components = path.components().peekable();
    while let Some(component) = components.next() {
        let at = parent.as_ref().map_or(directory, AsFd::as_fd);
        let flags = OFlags::NOFOLLOW
            | match components.peek() {
                Some(_) => OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
                None => flags(),
            };
        let name = component.as_os_str();
        let opened = openat(at, name, flags, Mode::empty()).map_err(|error| match error {
            Errno::LOOP => Errno::XDEV,
            // The error of `O_PATH | O_DIRECTORY` for a link.
            Errno::NOTDIR if is_link(at, name) => Errno::XDEV,
            error => error,
        })?;
        parent = Some(opened);
    }
    parent.ok_or(Errno::NOENT)
}

fn is_link(directory: BorrowedFd<'_>, name: &std::ffi::OsStr) -> bool {
    rustix::fs::readlinkat(directory, name, Vec::new()).is_ok()
}

fn require_regular(file: File) -> Result<File, OpenBeneathError> {
    let file_type = file.metadata()?.file_type();
    match file_type.is_file() {
        true => Ok(file),
        false => Err(OpenBeneathError::NotRegular(FileKind::of(file_type))),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A directory `root` with files and links, beside a file that is not below it.
    fn tree() -> (tempfile::TempDir, File) {
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().join("root");
        fs::create_dir_all(root.join("web/deep")).unwrap();
        fs::write(parent.path().join("outside"), "outside").unwrap();
        fs::write(root.join("web/token"), "inside").unwrap();
        symlink("web/token", root.join("within")).unwrap();
        symlink("web", root.join("directory")).unwrap();
        symlink("../outside", root.join("relative")).unwrap();
        symlink(parent.path().join("outside"), root.join("absolute")).unwrap();
        symlink("..", root.join("up")).unwrap();
        symlink("/proc/self/root", root.join("magic")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            root.join("fifo"),
            rustix::fs::FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .unwrap();
        let directory = File::open(&root).unwrap();
        (parent, directory)
    }

    fn read(mut file: File) -> String {
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        text
    }

    const ESCAPES: [&str; 5] = ["relative", "absolute", "up/outside", "magic/etc", "up"];

    #[test]
    fn a_file_is_opened_and_links_within_are_followed() {
        let (_parent, root) = tree();
        let open = |path: &str| open_beneath(&root, path.as_ref());
        for path in ["web/token", "within", "directory/token"] {
            assert_eq!(read(open(path).unwrap()), "inside", "{path}");
        }
        let error = open("web/none").unwrap_err();
        assert!(
            matches!(&error, OpenBeneathError::Io(error) if error.kind() == io::ErrorKind::NotFound),
            "{error}"
        );
    }

    #[test]
    fn no_path_and_no_link_leads_out() {
        let (_parent, root) = tree();
        for path in ESCAPES {
            let error = open_beneath(&root, path.as_ref()).unwrap_err();
            assert!(matches!(error, OpenBeneathError::Link), "{path}: {error}");
        }
        let plain: [&[u8]; 8] = [
            b"",
            b".",
            b"..",
            b"/etc/passwd",
            b"web/../web/token",
            b"web//token",
            b"web/",
            b"web/to\0ken",
        ];
        for path in plain {
            let error = open_beneath(&root, Path::new(OsStr::from_bytes(path))).unwrap_err();
            assert!(matches!(error, OpenBeneathError::Path), "{path:?}: {error}");
        }
    }

    #[test]
    fn other_kinds_of_files_are_refused_without_blocking() {
        let (_parent, root) = tree();
        let refused = |path: &str| open_beneath(&root, path.as_ref()).unwrap_err().to_string();
        assert_eq!(refused("web/deep"), "a directory is not a regular file");
        assert_eq!(refused("fifo"), "a FIFO is not a regular file");
    }

    #[test]
    fn without_openat2_every_link_is_refused() {
        let (_parent, root) = tree();
        let open = |path: &str| open_in_steps(root.as_fd(), path.as_ref());
        assert_eq!(read(open("web/token").unwrap().into()), "inside");
        for path in ESCAPES.into_iter().chain(["within", "directory/token"]) {
            assert_eq!(open(path).unwrap_err(), Errno::XDEV, "{path}");
        }
        assert_eq!(open("web/none").unwrap_err(), Errno::NOENT);
        assert_eq!(open("web/token/x").unwrap_err(), Errno::NOTDIR);
    }
}
