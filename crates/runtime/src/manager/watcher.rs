//! Watches the plugin directories for new, removed and changed files.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyway_local::file::deciding_entries;
use keyway_local::readable;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use crate::wait::until;

/// The time without further changes after which a change counts as complete: files are written in many steps.
const SETTLE: Duration = Duration::from_millis(250);

/// The longest time that a file which keeps changing delays the report of other changes.
const AT_MOST: Duration = Duration::from_secs(2);

/// The time for which a failure is held back, because the watcher that takes the place of this one may fail as well.
const FAILURE_PAUSE: Duration = Duration::from_secs(5);

/// The bytes that are read at once, enough for many events.
const BUFFER_LEN: usize = 4096;

const CHANGES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF);

/// Error of watching for changes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WatchError {
    #[error("there is no file watcher")]
    Unavailable(#[source] io::Error),
    #[error("{} cannot be watched", path.display())]
    Place { path: PathBuf, source: io::Error },
}

/// Watches plugin directories: their files, the targets of links in them, and the creation of absent ones. After a
/// change the manager calls [`watch`](Self::watch) again, because other places may matter then.
#[derive(Debug)]
pub(crate) struct FileWatcher {
    events: AsyncFd<OwnedFd>,
    /// The names of interest in each watched directory.
    interests: HashMap<i32, Vec<Interest>>,
    /// The first and the last change that was not reported yet.
    pending: Option<(Instant, Instant)>,
}

/// The changes of a directory that are reported.
#[derive(Debug)]
enum Interest {
    /// Whatever could be a plugin.
    Plugins,
    /// The entry of this name.
    Entry(OsString),
}

impl Interest {
    fn concerns(&self, name: &OsStr) -> bool {
        match self {
            Self::Plugins => !name.as_bytes().starts_with(b"."),
            Self::Entry(entry) => entry == name,
        }
    }
}

impl FileWatcher {
    /// Creates a watcher of nothing.
    ///
    /// # Errors
    ///
    /// Returns [`WatchError`] if the system has no room for another watcher.
    pub(crate) fn new() -> Result<Self, WatchError> {
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .map_err(io::Error::from)
            .and_then(readable)
            .map_err(WatchError::Unavailable)?;
        Ok(Self {
            events,
            interests: HashMap::new(),
            pending: None,
        })
    }

    /// Watches `directories` as they are now, and nothing else. Changes from here on are noticed, and no change of an earlier watch
    /// is lost. Blocks.
    ///
    /// # Errors
    ///
    /// Returns the first [`WatchError`] if a directory may not be read, or if the system has no room for all watches. The others
    /// are watched.
    pub(crate) fn watch(&mut self, directories: &[PathBuf]) -> Result<(), WatchError> {
        let mut interests: HashMap<i32, Vec<Interest>> = HashMap::new();
        let mut result = Ok(());
        for (directory, interest) in places(directories) {
            let flags = CHANGES | WatchFlags::ONLYDIR;
            match inotify::add_watch(self.events.get_ref(), &directory, flags) {
                Ok(watch) => interests.entry(watch).or_default().push(interest),
                // It was removed meanwhile, which changed a directory above that is watched.
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(error) => {
                    result = result.and(Err(WatchError::Place {
                        path: directory,
                        source: error.into(),
                    }));
                }
            }
        }
        for watch in self.interests.keys() {
            if !interests.contains_key(watch) {
                // The kernel has removed the watch of a directory that does not exist any more.
                let _ = inotify::remove_watch(self.events.get_ref(), *watch);
            }
        }
        self.interests = interests;
        result
    }

    /// Resolves when something has changed and no further change followed.
    ///
    /// # Errors
    ///
    /// Returns the error of the operating system if the events cannot be read, after a pause.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no change.
    pub(crate) async fn changed(&mut self) -> io::Result<()> {
        loop {
            let due = self
                .pending
                .map(|(first, last)| (last + SETTLE).min(first + AT_MOST));
            tokio::select! {
                () = until(due) => {
                    self.pending = None;
                    return Ok(());
                }
                relevant = next(&self.events, &self.interests) => if after_pause(relevant).await? {
                    let now = Instant::now();
                    let first = self.pending.map_or(now, |(first, _)| first);
                    self.pending = Some((first, now));
                },
            }
        }
    }
}

async fn after_pause<T>(result: io::Result<T>) -> io::Result<T> {
    if result.is_err() {
        tokio::time::sleep(FAILURE_PAUSE).await;
    }
    result
}

/// Waits for events and takes all that have arrived; returns whether one of them is relevant.
async fn next(
    events: &AsyncFd<OwnedFd>,
    interests: &HashMap<i32, Vec<Interest>>,
) -> io::Result<bool> {
    loop {
        let mut ready = events.readable().await?;
        let mut buffer = [MaybeUninit::uninit(); BUFFER_LEN];
        if let Ok(relevant) = ready.try_io(|events| drain(events.get_ref(), &mut buffer, interests))
        {
            return relevant;
        }
    }
}

/// Reads until no event is left; returns whether one of them is relevant.
///
/// # Errors
///
/// An error of the kind `WouldBlock` if there was no event, else that of the operating system.
fn drain(
    events: &OwnedFd,
    buffer: &mut [MaybeUninit<u8>],
    interests: &HashMap<i32, Vec<Interest>>,
) -> io::Result<bool> {
    let mut reader = Reader::new(events, buffer);
    let mut relevant = None;
    loop {
        match reader.next() {
            Ok(event) => {
                let is_relevant = match (event.file_name(), interests.get(&event.wd())) {
                    (Some(name), Some(interests)) => {
                        let name = OsStr::from_bytes(name.to_bytes());
                        interests.iter().any(|interest| interest.concerns(name))
                    }
                    // The directory itself.
                    (None, Some(_)) => !event.events().contains(ReadFlags::IGNORED),
                    // A directory that is not watched any more, or more events than the queue holds.
                    (_, None) => event.events().contains(ReadFlags::QUEUE_OVERFLOW),
                };
                relevant = Some(relevant.unwrap_or(false) || is_relevant);
            }
            Err(Errno::WOULDBLOCK) => {
                return relevant.ok_or_else(|| io::ErrorKind::WouldBlock.into());
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Returns the directories to watch, and why.
fn places(directories: &[PathBuf]) -> Vec<(PathBuf, Interest)> {
    let mut places = Vec::new();
    for directory in directories {
        // Without a current directory, a relative one cannot be found either.
        let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.clone());
        places.extend(above(&directory));
        places.extend(way(&directory));
        places.extend(links(&directory));
        places.push((directory, Interest::Plugins));
    }
    places
}

/// Returns the nearest directory above that exists, in which the way to `directory` begins or may be cut.
fn above(directory: &Path) -> Option<(PathBuf, Interest)> {
    let mut way = directory.ancestors();
    let mut below = way.next()?;
    for parent in way {
        if parent.is_dir() {
            let name = below.file_name()?;
            return Some((parent.into(), Interest::Entry(name.into())));
        }
        below = parent;
    }
    None
}

/// Returns the entries that decide where `path` leads.
fn way(path: &Path) -> Vec<(PathBuf, Interest)> {
    let entries = deciding_entries(path);
    let split = |entry: &PathBuf| {
        let interest = Interest::Entry(entry.file_name()?.into());
        Some((entry.parent()?.to_owned(), interest))
    };
    entries.iter().filter_map(split).collect()
}

/// Returns the links on the way to the plugins in `directory`, and the files that they lead to: profiles and versioned packages
/// change a link that another link leads through.
fn links(directory: &Path) -> Vec<(PathBuf, Interest)> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let links = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
    links.flat_map(|entry| way(&entry.path())).collect()
}

#[cfg(test)]
mod tests;
