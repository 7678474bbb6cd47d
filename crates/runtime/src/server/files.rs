//! The files of the daemon's sockets, which may be removed while it runs: by the end of a session, or by mistake.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use keyway_local::readable;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;

use super::socket::{ListenError, Socket, SocketFile};

/// Limit for a removal. The runtime directory of a user is emptied before it is unmounted.
const SETTLE: Duration = Duration::from_secs(1);

/// The socket files of a daemon, watched for their removal.
#[derive(Debug)]
pub(super) struct SocketFiles {
    /// Each with the position of its socket.
    files: Vec<(usize, Arc<SocketFile>)>,
    /// `None` if the system has no room for a watcher.
    events: Option<AsyncFd<OwnedFd>>,
    /// `true` if a change was seen that was not reported yet.
    is_changed: bool,
}

impl SocketFiles {
    /// Begins to watch the files of these sockets.
    pub(super) fn new(sockets: &[Socket]) -> Self {
        let files = sockets.iter().enumerate();
        let files: Vec<_> = files
            .filter_map(|(index, socket)| Some((index, Arc::clone(socket.file()?))))
            .collect();
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .map_err(io::Error::from)
            .and_then(readable);
        let watched = Self {
            events: events
                .inspect_err(
                    |error| tracing::warn!(%error, "socket files are not watched for removal"),
                )
                .ok(),
            files,
            // A file may have been removed before it was watched.
            is_changed: true,
        };
        for (_, file) in &watched.files {
            watched.watch(file);
        }
        watched
    }

    /// The removal of a file to which a socket is bound changes its attributes, as long as the socket exists.
    fn watch(&self, file: &SocketFile) {
        let Some(events) = &self.events else { return };
        let flags = WatchFlags::ATTRIB | WatchFlags::MOVE_SELF | WatchFlags::DONT_FOLLOW;
        match inotify::add_watch(events.get_ref(), file.path(), flags) {
            // It is gone already, which the next check finds.
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(error) => {
                tracing::warn!(path = %file.path().display(), %error, "socket file is not watched for removal");
            }
        }
    }

    /// Lets other users reach the sockets, or keeps them out.
    pub(super) fn set_reachable(&self, is_reachable: bool) {
        for (_, file) in &self.files {
            file.set_reachable(is_reachable);
        }
    }

    /// Resolves when a file may have been removed and the removal is complete. Pending for ever without a watcher.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no change.
    pub(super) async fn changed(&mut self) {
        let Some(events) = &self.events else {
            return std::future::pending().await;
        };
        while !self.is_changed {
            let Ok(mut ready) = events.readable().await else {
                return std::future::pending().await;
            };
            // Without events, because they cannot be read, the files are examined after each pause.
            self.is_changed = ready.try_io(|events| drain(events.get_ref())).is_ok();
        }
        sleep(SETTLE).await;
        self.is_changed = false;
    }

    /// Makes the files again that are gone. Returns the new sockets with their positions.
    ///
    /// # Errors
    ///
    /// Returns the first [`ListenError`] if a file cannot be made.
    pub(super) async fn restore(&mut self) -> Result<Vec<(usize, Socket)>, ListenError> {
        let mut restored = Vec::new();
        for at in 0..self.files.len() {
            let (index, file) = &self.files[at];
            if !file.is_missing() {
                continue;
            }
            let (index, former) = (*index, Arc::clone(file));
            // It waits for the lock of another daemon that starts.
            let bound = tokio::task::spawn_blocking(move || {
                Socket::bind(&former.path().to_owned().into(), former.reach())
            });
            let socket = match bound.await {
                Ok(socket) => socket?,
                Err(stopped) => {
                    tracing::debug!(%stopped, "socket not bound again");
                    continue;
                }
            };
            if let Some(file) = socket.file() {
                tracing::warn!(path = %file.path().display(), "socket file was removed and made again");
                self.watch(file);
                self.files[at] = (index, Arc::clone(file));
            }
            restored.push((index, socket));
            self.is_changed = true;
        }
        Ok(restored)
    }
}

/// Reads until no event is left.
///
/// # Errors
///
/// An error of the kind `WouldBlock` if there was no event.
fn drain(events: &OwnedFd) -> io::Result<()> {
    let mut n_read = 0;
    let mut buffer = [0; 1024];
    loop {
        match rustix::io::read(events, &mut buffer) {
            Ok(n) => n_read += n,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if n_read > 0 => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use keyway_local::Address;

    use super::super::socket::Reach;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_removed_file_is_made_again_and_one_that_cannot_be_is_an_error() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let path = root.path().join("keyway/daemon.sock");
        let address = Address::from(path.clone());
        let sockets = vec![Socket::bind(&address, Reach::OwnUser).expect("bound")];
        let mut files = SocketFiles::new(&sockets);
        std::fs::remove_dir_all(root.path().join("keyway")).expect("removed");
        files.changed().await;
        let restored = files.restore().await.expect("bound again");
        assert_eq!(restored.len(), 1);
        // The former socket has no file to remove any more.
        drop(sockets);
        assert!(path.exists());
        assert!(
            files
                .restore()
                .await
                .expect("nothing is missing")
                .is_empty()
        );
        std::fs::remove_dir_all(root.path().join("keyway")).expect("removed");
        std::fs::write(root.path().join("keyway"), "a file in its place").expect("written");
        files.changed().await;
        files.restore().await.expect_err("no directory can be made");
    }
}
