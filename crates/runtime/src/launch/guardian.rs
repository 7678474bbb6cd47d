//! The daemon's side of the guardian process, which ends the plugins' process groups when the daemon is killed.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::os::fd::OwnedFd;

use rustix::process::{Pid, WaitId, WaitIdOptions, WaitOptions};

use crate::sys::child::{GUARDIAN_CAPACITY, GuardianMessage, fork_guardian};

/// A guardian process and the pipe to it. When this end of the pipe closes, for whatever reason, the guardian kills the
/// groups that are still watched and ends.
///
/// The parent-death signal reaches only the plugin process itself, not the helpers that it started; the guardian reaches the
/// whole process group. What left its group by `setsid` is out of reach.
#[derive(Debug)]
pub(super) struct Guardian {
    pid: Pid,
    pipe: std::fs::File,
    groups: BTreeSet<i32>,
}

impl Guardian {
    /// Forks the guardian.
    pub(super) fn start() -> io::Result<Self> {
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let pid = fork_guardian(&reader)?;
        Ok(Self {
            pid,
            pipe: OwnedFd::into(writer),
            groups: BTreeSet::new(),
        })
    }

    /// Has the group of `leader` killed when the daemon dies.
    pub(super) fn watch(&mut self, leader: Pid) -> io::Result<()> {
        let group = leader.as_raw_nonzero().get();
        if self.groups.len() >= GUARDIAN_CAPACITY {
            return Err(io::Error::other(format!(
                "more than {GUARDIAN_CAPACITY} plugin processes"
            )));
        }
        self.groups.insert(group);
        self.send(group)
    }

    /// Forgets the group of `leader`. Must come before the leader is reaped: from then on its number may be a stranger's.
    pub(super) fn forget(&mut self, leader: Pid) -> io::Result<()> {
        let group = leader.as_raw_nonzero().get();
        self.groups.remove(&group);
        self.send(-group)
    }

    fn send(&mut self, message: i32) -> io::Result<()> {
        // Asked and not learnt from a failed write: a process that was forked a moment ago may hold a copy of the pipe's other
        // end until it has called exec, and the write would succeed.
        if !self.is_alive() {
            return self.restart();
        }
        let message: GuardianMessage = message.to_ne_bytes();
        self.pipe.write_all(&message)
    }

    fn is_alive(&self) -> bool {
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        matches!(
            rustix::process::waitid(WaitId::Pid(self.pid), ended),
            Ok(None)
        )
    }

    /// Replaces a guardian that somebody killed.
    fn restart(&mut self) -> io::Result<()> {
        tracing::warn!(guardian = %self.pid.as_raw_nonzero(), "the guardian process was killed: starting another");
        let groups = std::mem::take(&mut self.groups);
        // Assigning drops the old value, which closes its pipe and reaps the dead process.
        *self = Self::start()?;
        for group in groups {
            self.groups.insert(group);
            self.pipe.write_all(&group.to_ne_bytes())?;
        }
        Ok(())
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        // The file is closed by swapping in another one, because fields are dropped only after this function.
        if let Ok(null) = std::fs::File::open("/dev/null") {
            drop(std::mem::replace(&mut self.pipe, null));
            // The guardian ends within microseconds of the close; without the wait it would stay as a zombie. An error means
            // that it was reaped already.
            let _ = rustix::process::waitpid(Some(self.pid), WaitOptions::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::{Child, Command, Stdio};

    fn sleeper() -> (Child, Pid) {
        let child = Command::new("sleep")
            .arg("600")
            .process_group(0)
            .stdin(Stdio::null())
            .spawn()
            .expect("sleep");
        let pid = Pid::from_child(&child);
        (child, pid)
    }

    #[test]
    fn the_end_of_the_pipe_kills_the_watched_groups_only() {
        let mut guardian = Guardian::start().expect("a guardian");
        let (mut watched, watched_pid) = sleeper();
        let (mut forgotten, forgotten_pid) = sleeper();
        guardian.watch(watched_pid).expect("watched");
        guardian.watch(forgotten_pid).expect("watched");
        guardian.forget(forgotten_pid).expect("forgotten");
        drop(guardian);
        assert_eq!(watched.wait().expect("ended").signal(), Some(9));
        assert_eq!(forgotten.try_wait().expect("running"), None);
        forgotten
            .kill()
            .and_then(|()| forgotten.wait())
            .expect("killed");
    }

    #[test]
    fn a_killed_guardian_is_replaced_and_knows_what_the_first_knew() {
        let mut guardian = Guardian::start().expect("a guardian");
        let (mut first, first_pid) = sleeper();
        guardian.watch(first_pid).expect("watched");
        rustix::process::kill_process(guardian.pid, rustix::process::Signal::KILL).expect("killed");
        // Its end of the pipe is closed once it can be reaped; leave it to `Guardian` to do that.
        let seen = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        rustix::process::waitid(WaitId::Pid(guardian.pid), seen).expect("a zombie");
        let (mut second, second_pid) = sleeper();
        guardian
            .watch(second_pid)
            .expect("watched by the second guardian");
        drop(guardian);
        assert_eq!(first.wait().expect("ended").signal(), Some(9));
        assert_eq!(second.wait().expect("ended").signal(), Some(9));
    }
}
