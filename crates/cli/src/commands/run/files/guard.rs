//! The guardian of the files: a process that removes their directory once `keyway run` and its command are gone, however they
//! ended.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read, retry_on_intr};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, WaitOptions, chdir, pidfd_open, setsid, waitpid};

use super::directory::Directory;
use crate::commands::run::supervise;
use crate::failure::Failure;
use crate::output;
use crate::sys::{self, SignalSet};

/// How long [`Guard::finish`] waits for the guardian, which removes a few files in memory.
const REMOVAL_TIMEOUT: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};

/// A directory for files, and the process that removes it.
pub(in crate::commands::run) struct Guard {
    directory: PathBuf,
    guardian: Pid,
    /// The guardian removes the directory when every copy of this end of its pipe is closed. The command has none, because
    /// it is closed on exec.
    alive: OwnedFd,
}

impl Guard {
    /// Creates the directory, and forks the guardian. This process must have one thread.
    ///
    /// # Errors
    ///
    /// Returns a [`Failure`] if there is no directory in memory, or no process can be created.
    pub(in crate::commands::run) fn start() -> Result<Self, Failure> {
        let Directory { path, lock } = Directory::create()?;
        let started = fork(&path, &lock);
        started.map_err(|error| {
            let _ = Directory::remove(&path);
            supervise::failure("start a process", &error)
        })
    }

    /// Returns the directory.
    pub(in crate::commands::run) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Lets the guardian remove the directory, and waits for that. A guardian that was killed or is stopped is replaced.
    pub(in crate::commands::run) fn finish(self) {
        drop(self.alive);
        // Without a process descriptor, on Linux before 5.3, the wait is that of `waitpid`.
        if let Ok(guardian) = pidfd_open(self.guardian, PidfdFlags::empty()) {
            let mut descriptors = [PollFd::new(&guardian, PollFlags::IN)];
            let _ = retry_on_intr(|| poll(&mut descriptors, Some(&REMOVAL_TIMEOUT)));
            let _ = waitpid(Some(self.guardian), WaitOptions::NOHANG);
        } else {
            let _ = retry_on_intr(|| waitpid(Some(self.guardian), WaitOptions::empty()));
        }
        if let Err(error) = Directory::remove(&self.directory) {
            let directory = self.directory.display();
            output::note(format_args!(
                "the files in {directory} cannot be removed: {error}"
            ));
        }
    }
}

fn fork(path: &Path, lock: &OwnedFd) -> io::Result<Guard> {
    let (ended, alive) = pipe_with(PipeFlags::CLOEXEC)?;
    match sys::fork()? {
        Some(guardian) => Ok(Guard {
            directory: path.to_owned(),
            guardian,
            alive,
        }),
        None => {
            drop(alive);
            guard(path, &ended, lock)
        }
    }
}

/// The guardian's life. It keeps the lock, and no other descriptor: a copy of standard output would keep a pipe open.
fn guard(path: &Path, ended: &OwnedFd, lock: &OwnedFd) -> ! {
    let _ = sys::set_blocked(SignalSet::of(|_| true));
    let _ = setsid();
    let _ = chdir("/");
    sys::close_all_but([ended, lock]);
    let mut byte = [0];
    // The pipe never has data, and no signal is caught.
    while matches!(read(ended, &mut byte), Err(Errno::INTR)) {}
    // The other process reports a failure, because it removes the directory as well.
    let _ = Directory::remove(path);
    sys::end_copy()
}
