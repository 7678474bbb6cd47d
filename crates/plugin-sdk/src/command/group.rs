//! A child process that leads a process group, and the end of all of it.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus};
use std::time::Duration;

use keyway_local::readable;
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid,
};
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;

use super::guardian;

/// Interval of looking at a child if the kernel has no pidfds.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A process group whose leader is a child of this process. Dropped, the group is killed and its leader is reaped.
#[derive(Debug)]
pub(super) struct Group(Option<Leader>);

/// A child that was not reaped, so that its process id and its group are not reused.
#[derive(Debug)]
struct Leader {
    child: Child,
    /// Readable once the child has exited; `None` if the kernel has no pidfds.
    pidfd: Option<AsyncFd<OwnedFd>>,
}

impl Group {
    /// Starts a command, which must have `process_group(0)`. Blocks; must be called within a runtime.
    pub(super) fn start(command: &mut Command) -> io::Result<Self> {
        let child = command.spawn()?;
        guardian::watch(Pid::from_child(&child));
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty());
        let pidfd = pidfd.ok().and_then(|pidfd| readable(pidfd).ok());
        Ok(Self(Some(Leader { child, pidfd })))
    }

    /// Takes the pipes of the leader. Each is `None` unless the command has it.
    pub(super) fn take_pipes(
        &mut self,
    ) -> (Option<ChildStdin>, Option<ChildStdout>, Option<ChildStderr>) {
        let Some(Leader { child, .. }) = &mut self.0 else {
            return (None, None, None);
        };
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    }

    /// Waits until the leader has exited.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(super) async fn exited(&self) {
        if let Some(leader) = &self.0 {
            leader.exited().await;
        }
    }

    /// Kills what is left of the group.
    pub(super) fn kill(&mut self) {
        if let Some(leader) = &mut self.0 {
            leader.kill_group();
        }
    }

    /// Kills what is left of the group and returns the status of the leader, which must have exited.
    pub(super) fn reap(mut self) -> io::Result<ExitStatus> {
        let Some(leader) = &mut self.0 else {
            return Err(Errno::CHILD.into());
        };
        leader.kill_group();
        guardian::forget(leader.pid());
        let status = leader.child.wait();
        self.0 = None;
        status
    }
}

impl Leader {
    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn kill_group(&mut self) {
        // Both fail if nothing is left to kill. The leader may have left its own group.
        let _ = kill_process_group(self.pid(), Signal::KILL);
        let _ = self.child.kill();
    }

    /// Returns `true` if the child has exited, without reaping it.
    fn has_exited(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match waitid(WaitId::Pid(self.pid()), options) {
            Ok(status) => status.is_some(),
            // There is no such child any more if SIGCHLD is ignored.
            Err(error) => error != Errno::INTR,
        }
    }

    async fn exited(&self) {
        while !self.has_exited() {
            match &self.pidfd {
                Some(pidfd) => match pidfd.readable().await {
                    Ok(mut ready) => ready.clear_ready(),
                    Err(_) => tokio::time::sleep(POLL_INTERVAL).await,
                },
                None => tokio::time::sleep(POLL_INTERVAL).await,
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let Some(mut leader) = self.0.take() else {
            return;
        };
        leader.kill_group();
        guardian::forget(leader.pid());
        // A killed process ends soon, but not at once, and not while it waits for a device. Without a runtime the plugin is
        // about to end, and with it its zombies.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                leader.exited().await;
                // The child has exited, so this does not block; its status is of no interest.
                let _ = leader.child.wait();
            });
        }
    }
}
