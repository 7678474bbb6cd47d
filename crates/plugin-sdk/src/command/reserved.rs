//! Process groups that exist before the programs that join them, so that the guardian knows a group before a program runs in it.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keyway_local::is_in_own_session;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::guardian;

/// The time for which a group is kept for the next command: the start of its leader takes as long as that of a small program.
const KEPT_FOR: Duration = Duration::from_secs(10);

static FREE: Mutex<Free> = Mutex::new(Free {
    groups: Vec::new(),
    reaper: None,
});

/// The groups of commands that have ended.
struct Free {
    /// The leaders, and since when each group is free. The newest is last.
    groups: Vec<(Child, Instant)>,
    /// Reaps the groups that were not used again.
    reaper: Option<JoinHandle<()>>,
}

/// A process group whose leader does nothing, and is not reaped when it has exited: so its number names no other group.
///
/// The guardian kills the group when this process ends. Dropped, the group is kept for the next command; it must have been killed
/// before.
#[derive(Debug)]
pub(super) struct ReservedGroup {
    /// `None` once it is dropped.
    leader: Option<Child>,
    pid: Pid,
}

impl ReservedGroup {
    /// Takes a free group or creates one. Blocks for the start of a process at most.
    ///
    /// # Errors
    ///
    /// Returns the error of starting `sh`.
    pub(super) fn take() -> io::Result<Self> {
        let leader = match Self::free() {
            Some(leader) => leader,
            None => start_leader()?,
        };
        let pid = Pid::from_child(&leader);
        guardian::watch(pid);
        Ok(Self {
            leader: Some(leader),
            pid,
        })
    }

    /// Returns the number of the group.
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    fn free() -> Option<Child> {
        let mut free = lock();
        while let Some((mut leader, _)) = free.groups.pop() {
            if can_be_joined(&leader) {
                return Some(leader);
            }
            // An error says that it was reaped.
            let _ = leader.try_wait();
        }
        None
    }
}

impl Drop for ReservedGroup {
    fn drop(&mut self) {
        guardian::forget(self.pid);
        let Some(leader) = self.leader.take() else {
            return;
        };
        let mut free = lock();
        free.groups.push((leader, Instant::now()));
        // A reaper whose runtime has ended is finished.
        if free.reaper.as_ref().is_none_or(JoinHandle::is_finished)
            && let Ok(runtime) = Handle::try_current()
        {
            free.reaper = Some(runtime.spawn(reap_unused()));
        }
    }
}

fn lock() -> MutexGuard<'static, Free> {
    FREE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start_leader() -> io::Result<Child> {
    Command::new("sh")
        .args(["-c", ":"])
        .env_clear()
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

/// Returns `false` if another part of this process has reaped the leader, or if this process has left its session.
fn can_be_joined(leader: &Child) -> bool {
    let pid = Pid::from_child(leader);
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    waitid(WaitId::Pid(pid), options).is_ok() && is_in_own_session(pid)
}

/// Reaps the leaders of groups that no command has used for [`KEPT_FOR`], until there is none.
async fn reap_unused() {
    loop {
        sleep(KEPT_FOR).await;
        let mut free = lock();
        free.groups.retain_mut(|(leader, since)| {
            // The leader was killed with its group, so this does not block.
            since.elapsed() < KEPT_FOR || matches!(leader.try_wait(), Ok(None))
        });
        if free.groups.is_empty() {
            free.reaper = None;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;
    use rustix::process::{Signal, kill_process_group};

    use super::*;

    /// Kills the group as its owner does, and waits for the end of the leader.
    fn kill(group: &ReservedGroup) {
        // The leader may have ended already.
        let _ = kill_process_group(group.pid(), Signal::KILL);
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(group.pid()), ended).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_is_used_again_and_its_leader_is_reaped_after_a_while() {
        let first = ReservedGroup::take().unwrap();
        let pid = first.pid();
        kill(&first);
        drop(first);
        let second = ReservedGroup::take().unwrap();
        assert_eq!(second.pid(), pid);
        let other = ReservedGroup::take().unwrap();
        assert_ne!(other.pid(), pid);
        for group in [second, other] {
            kill(&group);
        }
        sleep(3 * KEPT_FOR).await;
        let leader = waitid(
            WaitId::Pid(pid),
            WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
        );
        assert_eq!(leader.unwrap_err(), Errno::CHILD);
        assert!(lock().groups.is_empty());
    }

    #[test]
    fn groups_are_used_again_where_the_leader_of_the_session_is_in_no_visible_namespace() {
        let unshare = || {
            let mut command = Command::new("unshare");
            command.args([
                "--user",
                "--map-root-user",
                "--pid",
                "--fork",
                "--mount-proc",
            ]);
            command
        };
        if !keyway_test_support::require::can_run("pid namespaces", unshare().arg("true")) {
            return;
        }
        let test = "command::reserved::tests::a_group_is_used_again_and_its_leader_is_reaped_after_a_while";
        let output = unshare()
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", test])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}"
        );
    }
}
