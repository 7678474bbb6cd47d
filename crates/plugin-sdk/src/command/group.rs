//! A child process in a process group of its own, and the end of all of it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
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
use super::reserved::ReservedGroup;

/// Interval of the checks of a child if the kernel has no pidfds.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A program in a process group of its own, a child of this process. Dropped, the group is killed and the program is reaped.
#[derive(Debug)]
pub(super) struct Group(Option<Program>);

/// A child that was not reaped, so that its process id is not reused.
#[derive(Debug)]
struct Program {
    child: Child,
    /// The group of the child; `None` if there is no `sh`: then the child leads its group, which the guardian does not know.
    group: Option<ReservedGroup>,
    /// Readable once the child has exited; `None` if the kernel has no pidfds.
    pidfd: Option<AsyncFd<OwnedFd>>,
}

impl Group {
    /// Starts a command. Blocks; must be called within a runtime.
    pub(super) fn start(command: &mut Command) -> io::Result<Self> {
        let group = match ReservedGroup::take() {
            Ok(group) => Some(group),
            Err(error) if is_absent(&error) => {
                guardian::warn_absent(&error);
                None
            }
            Err(error) => return Err(error),
        };
        let number = group
            .as_ref()
            .map_or(0, |group| group.pid().as_raw_nonzero().get());
        let child = command.process_group(number).spawn()?;
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty());
        let pidfd = pidfd.ok().and_then(|pidfd| readable(pidfd).ok());
        Ok(Self(Some(Program {
            child,
            group,
            pidfd,
        })))
    }

    /// Takes the pipes of the program. Each is `None` unless the command has it.
    pub(super) fn take_pipes(
        &mut self,
    ) -> (Option<ChildStdin>, Option<ChildStdout>, Option<ChildStderr>) {
        let Some(Program { child, .. }) = &mut self.0 else {
            return (None, None, None);
        };
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    }

    /// Waits until the program has exited.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(super) async fn exited(&self) {
        if let Some(program) = &self.0 {
            program.exited().await;
        }
    }

    /// Kills the rest of the group.
    pub(super) fn kill(&mut self) {
        if let Some(program) = &mut self.0 {
            program.kill_group();
        }
    }

    /// Kills the rest of the group and returns the status of the program, which must have exited.
    pub(super) fn reap(mut self) -> io::Result<ExitStatus> {
        let Some(program) = &mut self.0 else {
            return Err(Errno::CHILD.into());
        };
        program.kill_group();
        let status = program.child.wait();
        self.0 = None;
        status
    }
}

/// Returns `true` if the error says that a program does not exist or cannot be executed.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
    )
}

impl Program {
    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn kill_group(&mut self) {
        let group = self.group.as_ref().map_or(self.pid(), ReservedGroup::pid);
        // Both fail if nothing is left to kill. The program may have left its group.
        let _ = kill_process_group(group, Signal::KILL);
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
        let Some(mut program) = self.0.take() else {
            return;
        };
        program.kill_group();
        program.group = None;
        // A killed process ends soon, but not at once, and not while it waits for a device. Without a runtime the plugin is
        // about to end, and with it its zombies.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                program.exited().await;
                // The child has exited, so this does not block; its status is of no interest.
                let _ = program.child.wait();
            });
        }
    }
}
