//! Access to a socket by its path: its mode, and that of the directories that were created for it.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::Reach;

/// The permission to pass a directory or use a file as a user who is neither its owner nor in its group.
const OTHERS_EXECUTE: u32 = 0o001;

/// A socket's file and the users that may reach it.
///
/// The kernel's credentials decide about every connection, so the modes only exclude users that would be refused anyway.
#[derive(Debug)]
pub(crate) struct SocketFile {
    /// Absolute, so that it is the same file wherever the process is.
    path: PathBuf,
    /// Device and inode of the path when the socket was made, so that the socket of another daemon is not touched.
    inode: (u64, u64),
    /// The directories that were made for it.
    made: Vec<PathBuf>,
    /// The users that may ever reach it.
    reach: Reach,
}

impl SocketFile {
    /// Takes over the socket that was just bound at `path`, and closes it to other users.
    pub(super) fn new(path: PathBuf, made: Vec<PathBuf>, reach: Reach) -> io::Result<Self> {
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        let inode = inode(&fs::symlink_metadata(&path)?);
        Ok(Self {
            path,
            inode,
            made,
            reach,
        })
    }

    /// Returns the absolute path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether other users may ever reach it.
    pub(crate) fn reach(&self) -> Reach {
        self.reach
    }

    /// Returns `true` if there is no file at the path any more.
    pub(crate) fn is_missing(&self) -> bool {
        fs::symlink_metadata(&self.path).is_err_and(|error| {
            matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            )
        })
    }

    /// Returns `true` if the path is still the socket that was made.
    fn is_ours(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|metadata| inode(&metadata) == self.inode)
    }

    /// Lets other users reach the socket, or keeps them out. Sockets at default addresses stay closed.
    ///
    /// Only the directories that were made for the socket are changed. If another one excludes other users, a warning states
    /// how to open it.
    pub(crate) fn set_reachable(&self, is_reachable: bool) {
        if self.reach == Reach::OwnUser || !self.is_ours() {
            return;
        }
        let (socket, directory) = if is_reachable {
            (0o666, 0o711)
        } else {
            (0o600, 0o700)
        };
        let changes = self.made.iter().map(|made| (made, directory));
        for (path, mode) in changes.chain([(&self.path, socket)]) {
            if let Err(error) = fs::set_permissions(path, Permissions::from_mode(mode)) {
                tracing::warn!(path = %path.display(), %error, "cannot set the mode {mode:04o} that `allow_uids` requires");
            }
        }
        if let Some(closed) = self.closed_directory().filter(|_| is_reachable) {
            tracing::warn!(
                socket = %self.path.display(),
                "other users in `allow_uids` cannot reach the socket, because {closed} is closed to them: run `chmod o+x {closed}`, or listen at another path",
                closed = closed.display(),
            );
        }
    }

    /// Returns the first directory on the way that other users cannot pass.
    fn closed_directory(&self) -> Option<&Path> {
        let mut directories: Vec<_> = self.path.ancestors().skip(1).collect();
        directories.reverse();
        directories.into_iter().find(|directory| {
            fs::metadata(directory).is_ok_and(|metadata| metadata.mode() & OTHERS_EXECUTE == 0)
        })
    }

    /// Removes the file if it is still the socket that was made.
    pub(super) fn remove(&self) {
        if self.is_ours() {
            // A file that stays is replaced by the next daemon.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn inode(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Makes `directory` and those above it with mode 0700 as far as they are absent, and returns those that it made.
pub(super) fn make_directories(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let absent: Vec<_> = directory
        .ancestors()
        .take_while(|ancestor| !ancestor.as_os_str().is_empty() && !ancestor.exists())
        .map(Path::to_path_buf)
        .collect();
    let mut made = Vec::new();
    for path in absent.into_iter().rev() {
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => made.push(path),
            // Another daemon that starts now was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("metadata").mode() & 0o7777
    }

    /// Returns a socket two directories below `root`, made for it.
    fn socket(root: &Path, reach: Reach) -> (UnixListener, SocketFile) {
        let directory = root.join("made/for");
        let made = make_directories(&directory).expect("directories");
        let path = directory.join("daemon.sock");
        let listener = UnixListener::bind(&path).expect("listening");
        let file = SocketFile::new(path, made, reach).expect("a socket file");
        (listener, file)
    }

    #[test]
    fn a_reachable_socket_is_open_with_the_directories_that_were_made() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let (_listener, file) = socket(root.path(), Reach::AllowedUsers);
        let modes = || {
            ["made", "made/for", "made/for/daemon.sock"].map(|path| mode(&root.path().join(path)))
        };
        assert_eq!(modes(), [0o700, 0o700, 0o600]);
        file.set_reachable(true);
        assert_eq!(modes(), [0o711, 0o711, 0o666]);
        file.set_reachable(false);
        assert_eq!(modes(), [0o700, 0o700, 0o600]);
    }

    #[test]
    fn an_existing_directory_keeps_its_mode_and_is_named() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let closed = root.path().join("closed");
        fs::create_dir(&closed).expect("a directory");
        fs::set_permissions(root.path(), Permissions::from_mode(0o755)).expect("a mode");
        fs::set_permissions(&closed, Permissions::from_mode(0o700)).expect("a mode");
        let (_listener, file) = socket(&closed, Reach::AllowedUsers);
        file.set_reachable(true);
        assert_eq!(mode(&closed), 0o700);
        assert_eq!(file.closed_directory(), Some(closed.as_path()));
        fs::set_permissions(&closed, Permissions::from_mode(0o711)).expect("a mode");
        assert_eq!(file.closed_directory(), None);
    }

    #[test]
    fn a_socket_at_a_default_address_is_never_opened() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let (_listener, file) = socket(root.path(), Reach::OwnUser);
        file.set_reachable(true);
        assert_eq!(mode(&file.path), 0o600);
        assert_eq!(mode(&root.path().join("made")), 0o700);
    }

    #[test]
    fn a_socket_of_a_daemon_that_came_later_is_not_touched() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let (_listener, file) = socket(root.path(), Reach::AllowedUsers);
        fs::remove_file(&file.path).expect("removed");
        let _later = UnixListener::bind(&file.path).expect("listening");
        fs::set_permissions(&file.path, Permissions::from_mode(0o640)).expect("a mode");
        file.set_reachable(true);
        file.remove();
        assert_eq!(mode(&file.path), 0o640);
    }
}
