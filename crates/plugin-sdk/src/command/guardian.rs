//! The guardian: a process that kills the groups of running commands when the plugin is killed.
//!
//! A daemon kills the process group of a plugin. A command has a group of its own, which would outlive it. It joins that group when the
//! guardian knows it, so that there is no time at which a program could survive the plugin.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::ioctl_fionbio;
use rustix::process::Pid;

/// Adds and removes groups by the commands of its input, and kills the remaining ones when its input ends, which the kernel closes with
/// the plugin. Uses builtins only.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
groups=' '
while read -r change group; do
    case $change in
        +) groups="$groups$group " ;;
        -) groups="${groups%% $group *} ${groups#* $group }" ;;
    esac
done
for group in $groups; do kill -s KILL -- "-$group"; done
"#;

static GUARDIAN: Mutex<Guardian> = Mutex::new(Guardian {
    groups: BTreeSet::new(),
    shell: None,
    has_warned: false,
});

/// The groups to kill, and the process that kills them.
struct Guardian {
    groups: BTreeSet<i32>,
    /// Started with the first command.
    shell: Option<Shell>,
    has_warned: bool,
}

struct Shell {
    child: Child,
    input: ChildStdin,
}

/// Has the group of `leader` killed when this process ends, however it ends. A program that joins the group afterwards never runs
/// without the guardian: the kernel closes the input of the guardian only when no child of this process is left between fork and exec.
pub(super) fn watch(leader: Pid) {
    lock().change('+', leader);
}

/// Forgets the group of `leader`. Must come before the leader is reaped: from then on its number may be that of another group.
pub(super) fn forget(leader: Pid) {
    lock().change('-', leader);
}

/// Logs once that there is no `sh` to run a guardian.
pub(super) fn warn_absent(error: &io::Error) {
    lock().warn(error);
}

fn lock() -> MutexGuard<'static, Guardian> {
    GUARDIAN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Guardian {
    fn change(&mut self, change: char, leader: Pid) {
        let group = leader.as_raw_nonzero().get();
        match change {
            '+' => self.groups.insert(group),
            _ => self.groups.remove(&group),
        };
        let is_sent = match &mut self.shell {
            Some(shell) => shell.send(change, group).is_ok(),
            None => false,
        };
        if !is_sent && !self.groups.is_empty() {
            self.restart();
        }
    }

    /// Starts a shell in place of one that was killed, is stopped, or was not started yet. If that fails, the command runs without a guardian.
    fn restart(&mut self) {
        self.shell = None;
        let started = Shell::start().and_then(|mut shell| {
            for group in &self.groups {
                shell.send('+', *group)?;
            }
            Ok(shell)
        });
        match started {
            Ok(shell) => self.shell = Some(shell),
            Err(error) => self.warn(&error),
        }
    }

    fn warn(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.has_warned, true) {
            tracing::warn!(%error, "commands would outlive a plugin that is killed: their guardian cannot be started");
        }
    }
}

impl Shell {
    fn start() -> io::Result<Self> {
        let mut child = Command::new("sh")
            .args(["-c", SCRIPT])
            .env_clear()
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let input = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        // A shell that was stopped must not block the plugin.
        ioctl_fionbio(&input, true)?;
        Ok(Self { child, input })
    }

    /// Sends one line, which is so short that the pipe takes all of it or nothing.
    fn send(&mut self, change: char, group: i32) -> io::Result<()> {
        self.input
            .write_all(format!("{change} {group}\n").as_bytes())
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // It has ended or does not read. Killed, because it would kill groups that are watched by the next one.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
