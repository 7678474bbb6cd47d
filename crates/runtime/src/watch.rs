//! Notices that plugins come, go or change on disk.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use crate::sys::readable::readable;
use crate::timer::until;

/// How long nothing more may happen before a change counts as done: files are written in many steps.
const SETTLE: Duration = Duration::from_millis(250);

/// A file that never comes to rest delays the others no longer than this.
const AT_MOST: Duration = Duration::from_secs(2);

/// How long a failure is kept back: whoever then watches anew may fail again, and should not do so all the time.
const FAILURE_PAUSE: Duration = Duration::from_secs(5);

/// Enough for many events at once; what does not fit is read next.
const BUFFER: usize = 4096;

const CHANGES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF);

/// Why changes cannot be noticed.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be watched: {source}", .path.display())]
pub(crate) struct WatchError {
    path: PathBuf,
    source: io::Error,
}

/// Watches plugin directories as they are now: what is in them, where links in them lead, and, for those that do not exist,
/// whether they come to be. After a change it is replaced by a new one, since other places may matter then.
#[derive(Debug)]
pub(crate) struct Watch {
    events: AsyncFd<OwnedFd>,
    /// What is of interest in each watched directory.
    interests: HashMap<i32, Vec<Interest>>,
    /// The first and the last change that nobody was told of.
    unrest: Option<(Instant, Instant)>,
}

/// What counts as a change of a directory.
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

impl Watch {
    /// Begins to watch. Changes from here on are noticed.
    ///
    /// # Errors
    ///
    /// When the system has no room for more watches, or does not let us look.
    pub(crate) fn start(directories: &[PathBuf]) -> Result<Self, WatchError> {
        let failed = |path: &Path, source: Errno| WatchError {
            path: path.into(),
            source: source.into(),
        };
        let first = directories.first().map_or(Path::new("."), PathBuf::as_path);
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .map_err(|error| failed(first, error))?;
        let mut interests: HashMap<i32, Vec<Interest>> = HashMap::new();
        for (directory, interest) in places(directories) {
            match inotify::add_watch(&events, &directory, CHANGES | WatchFlags::ONLYDIR) {
                Ok(watch) => interests.entry(watch).or_default().push(interest),
                // It went away since; whoever took it away changed a directory above, which is looked at again.
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(error) => return Err(failed(&directory, error)),
            }
        }
        let events = readable(events).map_err(|source| WatchError {
            path: first.into(),
            source,
        })?;
        Ok(Self {
            events,
            interests,
            unrest: None,
        })
    }

    /// Resolves when something has changed and come to rest.
    ///
    /// # Errors
    ///
    /// When the operating system takes the events away; told after a pause.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no change.
    pub(crate) async fn changed(&mut self) -> io::Result<()> {
        loop {
            let rest = self
                .unrest
                .map(|(first, last)| (last + SETTLE).min(first + AT_MOST));
            tokio::select! {
                () = until(rest) => {
                    self.unrest = None;
                    return Ok(());
                }
                relevant = next(&self.events, &self.interests) => if after_pause(relevant).await? {
                    let now = Instant::now();
                    let first = self.unrest.map_or(now, |(first, _)| first);
                    self.unrest = Some((first, now));
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

/// Takes all events that are there, waiting for one. Whether one of them matters.
async fn next(
    events: &AsyncFd<OwnedFd>,
    interests: &HashMap<i32, Vec<Interest>>,
) -> io::Result<bool> {
    loop {
        let mut ready = events.readable().await?;
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        if let Ok(relevant) = ready.try_io(|events| drain(events.get_ref(), &mut buffer, interests))
        {
            return relevant;
        }
    }
}

/// Reads until nothing is left. It is an error of the kind `WouldBlock` that nothing was there.
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
                let matters = match (event.file_name(), interests.get(&event.wd())) {
                    (Some(name), Some(interests)) => {
                        let name = OsStr::from_bytes(name.to_bytes());
                        interests.iter().any(|interest| interest.concerns(name))
                    }
                    // The directory itself, or more events than the queue holds.
                    _ => true,
                };
                relevant = Some(relevant.unwrap_or(false) || matters);
            }
            Err(Errno::WOULDBLOCK) => {
                return relevant.ok_or_else(|| io::ErrorKind::WouldBlock.into());
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The directories to watch, and why.
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

/// The nearest directory above that exists, in which the way to `directory` begins or may be cut.
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

/// The links on the way to the plugins in `directory`, and the files that they lead to: profiles and versioned packages turn a link
/// behind a link.
fn links(directory: &Path) -> Vec<(PathBuf, Interest)> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let links = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
    links.flat_map(|entry| way(&entry.path())).collect()
}

/// The most links that are followed on the way to one file, as in the kernel.
const MAX_LINKS: usize = 40;

/// The entries that decide where `path` leads: each link on the way, and the file at its end.
fn way(path: &Path) -> Vec<(PathBuf, Interest)> {
    let mut entries = Vec::new();
    let mut left: Vec<OsString> = components(path);
    let (mut at, mut n_links) = (PathBuf::from("/"), 0);
    while let Some(component) = left.pop() {
        if component == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&component);
        let link = std::fs::read_link(&next)
            .ok()
            .filter(|_| n_links < MAX_LINKS);
        if link.is_some() || left.is_empty() {
            entries.push((at.clone(), Interest::Entry(component)));
        }
        match link {
            Some(target) => {
                n_links += 1;
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                left.extend(components(&target));
            }
            None => at = next,
        }
    }
    entries
}

/// The names of a path, the last one first; the root and `.` are left out.
fn components(path: &Path) -> Vec<OsString> {
    let named = path
        .components()
        .filter(|component| matches!(component, Component::Normal(_) | Component::ParentDir));
    let mut names: Vec<OsString> = named
        .map(|component| component.as_os_str().to_owned())
        .collect();
    names.reverse();
    names
}

#[cfg(test)]
mod tests;
