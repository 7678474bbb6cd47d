//! The daemon's side of the guardian process, which ends the plugins' process groups when the daemon is killed.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions};

use crate::sys::guardian::{GUARDIAN_CAPACITY, GuardianMessage, fork_guardian};

/// Limit for the end of the guardian after its pipe was closed.
const END_BOUND: Duration = Duration::from_millis(500);

/// A guardian process and the pipe to it. When this end of the pipe closes, for whatever reason, the guardian kills the
/// groups that are still watched and ends.
///
/// The parent-death signal reaches only the plugin process itself, not the helpers that it started; the guardian reaches the
/// whole process group. A process that left the group by `setsid` is out of reach.
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

    /// Has the group of `leader` killed when the daemon ends.
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

    /// Forgets the group of `leader`. Must come before the leader is reaped: from then on its number may be that of another group.
    pub(super) fn forget(&mut self, leader: Pid) -> io::Result<()> {
        let group = leader.as_raw_nonzero().get();
        self.groups.remove(&group);
        self.send(-group)
    }

    /// Returns the process id of the guardian.
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Starts another guardian if this one has ended.
    pub(super) fn revive(&mut self) -> io::Result<()> {
        if self.is_alive() {
            return Ok(());
        }
        self.restart()
    }

    fn send(&mut self, message: i32) -> io::Result<()> {
        // A failed write is not enough to notice the end: a process that was forked a moment ago may hold a copy of the pipe's other
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

    /// Replaces a guardian that was killed. On an error the groups are kept for the next attempt.
    fn restart(&mut self) -> io::Result<()> {
        tracing::warn!(guardian = %self.pid.as_raw_nonzero(), "guardian process was killed: starting another");
        let mut next = Self::start()?;
        for group in &self.groups {
            next.pipe.write_all(&group.to_ne_bytes())?;
        }
        next.groups = std::mem::take(&mut self.groups);
        // Assigning drops the old value, which closes its pipe and reaps the dead process.
        *self = next;
        Ok(())
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        // The file is closed by swapping in another one, because fields are dropped only after this function.
        if let Ok(null) = std::fs::File::open("/dev/null") {
            drop(std::mem::replace(&mut self.pipe, null));
            // The guardian ends within microseconds of the close; without the wait it would stay as a zombie.
            self.wait_for_its_end();
        }
    }
}

impl Guardian {
    /// Waits for the end of the guardian. One that was stopped does not end by itself: it is killed, and its work is done here.
    fn wait_for_its_end(&self) {
        let started = Instant::now();
        while self.is_alive() {
            if started.elapsed() >= END_BOUND {
                for group in self.groups.iter().copied().filter_map(Pid::from_raw) {
                    // A group whose last process has ended is not an error.
                    let _ = rustix::process::kill_process_group(group, Signal::KILL);
                }
                let _ = rustix::process::kill_process(self.pid, Signal::KILL);
                break;
            }
            #[expect(
                clippy::disallowed_methods,
                reason = "the guardian's thread has no runtime, and waits a millisecond at a time for the end of one process"
            )]
            std::thread::sleep(Duration::from_millis(1));
        }
        // After SIGKILL the end takes no more than a moment. An error means that it was reaped already.
        let _ = rustix::process::waitpid(Some(self.pid), WaitOptions::empty());
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
    fn a_stopped_guardian_delays_the_end_within_its_bound_and_its_groups_are_killed() {
        let mut guardian = Guardian::start().expect("a guardian");
        let (mut watched, watched_pid) = sleeper();
        guardian.watch(watched_pid).expect("watched");
        rustix::process::kill_process(guardian.pid, Signal::STOP).expect("stopped");
        drop(guardian);
        assert_eq!(watched.wait().expect("ended").signal(), Some(9));
    }

    #[test]
    fn a_killed_guardian_is_replaced_and_watches_the_same_groups() {
        let mut guardian = Guardian::start().expect("a guardian");
        let (mut first, first_pid) = sleeper();
        guardian.watch(first_pid).expect("watched");
        rustix::process::kill_process(guardian.pid, Signal::KILL).expect("killed");
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
