//! Child processes that do not outlive their test, and a view of `/proc`.

use std::fs;
use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{
    Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Output, Stdio,
};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::WAIT_LIMIT;

/// A child process. Dropped, it is killed and reaped.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts a process.
    ///
    /// # Panics
    ///
    /// Panics if it cannot be started.
    #[track_caller]
    pub fn spawn(command: &mut Command) -> Self {
        match command.spawn() {
            Ok(child) => Self(child),
            Err(error) => panic!("cannot start {:?}: {error}", command.get_program()),
        }
    }

    /// The process id.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }

    /// The process id as a number.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Takes the pipe to standard input; dropped, it is closed.
    ///
    /// # Panics
    ///
    /// Panics if standard input is not a pipe or was taken before.
    #[track_caller]
    pub fn stdin(&mut self) -> ChildStdin {
        self.0.stdin.take().expect("standard input is a pipe")
    }

    /// Takes the pipe from standard output.
    ///
    /// # Panics
    ///
    /// Panics if standard output is not a pipe or was taken before.
    #[track_caller]
    pub fn stdout(&mut self) -> ChildStdout {
        self.0.stdout.take().expect("standard output is a pipe")
    }

    /// Takes the pipe from standard error.
    ///
    /// # Panics
    ///
    /// Panics if standard error is not a pipe or was taken before.
    #[track_caller]
    pub fn stderr(&mut self) -> ChildStderr {
        self.0.stderr.take().expect("standard error is a pipe")
    }

    /// Sends a signal.
    ///
    /// # Panics
    ///
    /// Panics if the process was reaped.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the process was not reaped");
    }

    /// Returns the exit status if the process has ended.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("a child can be waited for")
    }

    /// Waits for the end.
    ///
    /// # Panics
    ///
    /// Panics if the process has not ended after [`WAIT_LIMIT`].
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        self.wait_within(WAIT_LIMIT)
    }

    /// Waits for the end.
    ///
    /// # Panics
    ///
    /// Panics if the process has not ended after `limit`.
    #[track_caller]
    pub fn wait_within(&mut self, limit: Duration) -> ExitStatus {
        if self.try_wait().is_none() {
            let ended = pidfd_open(self.pid(), PidfdFlags::empty()).expect("a child has a pidfd");
            let has_ended = poll_readable(&ended, limit);
            assert!(
                has_ended,
                "process {} still runs after {limit:?}",
                self.id()
            );
        }
        self.0.wait().expect("a child can be waited for")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both calls have no effect on a process that was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until a descriptor is readable, and returns whether it is.
fn poll_readable(descriptor: &impl AsFd, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).expect("a limit of a test");
        match poll(
            &mut [PollFd::from_borrowed_fd(descriptor.as_fd(), PollFlags::IN)],
            Some(&left),
        ) {
            Ok(n_ready) => return n_ready > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("cannot wait for a process: {error}"),
        }
    }
}

/// Starts a plugin as a runtime does: with the launch variable, and one end of a socket pair at descriptor 3. Returns the process
/// and the other end. `prepare` may change the command, for instance its environment.
///
/// The shell moves the socket from standard input to the descriptor, because doing so after a fork takes unsafe code.
///
/// # Panics
///
/// Panics if the plugin cannot be started.
pub fn launch_plugin(
    executable: &Path,
    config: &str,
    prepare: impl FnOnce(&mut Command),
) -> (Process, UnixStream) {
    let (near, far) = UnixStream::pair().expect("a socket pair");
    let mut command = Command::new("sh");
    prepare(&mut command);
    command
        .args(["-c", r#"exec "$0" 3<&0 </dev/null"#])
        .arg(executable)
        .env("DOCKER_SECRETS_ENGINE_PLUGIN_LAUNCH_CFG", config)
        .stdin(OwnedFd::from(far));
    // The command, which holds the far end, is dropped here, so that the connection ends with the plugin.
    (Process::spawn(&mut command), near)
}

/// Runs a command with `stdin` as its standard input, and returns its output.
///
/// # Panics
///
/// Panics if the command cannot be started.
#[track_caller]
pub fn feed(command: &mut Command, stdin: &[u8]) -> Output {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => panic!("cannot start {:?}: {error}", command.get_program()),
    };
    let mut input = child.stdin.take().expect("standard input is a pipe");
    thread::scope(|scope| {
        // A program that does not read its standard input closes it, so a failed write is ignored.
        scope.spawn(move || input.write_all(stdin).is_ok());
        child.wait_with_output().expect("a child can be waited for")
    })
}

/// Output of a process as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The state of a process, from `/proc/PID/stat`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stat {
    /// The process id.
    pub pid: i32,
    /// The name of the executable, at most 15 bytes.
    pub name: String,
    /// `R`unning, `S`leeping, s`T`opped, `Z`ombie and others.
    pub state: char,
    /// The parent's process id.
    pub parent: i32,
    /// The process group.
    pub group: i32,
    /// The processor time in user and kernel mode, in ticks of the kernel: 10 ms on every common system.
    pub cpu_ticks: u64,
}

/// Reads the state of one process; `None` if there is no such process.
pub fn stat(pid: i32) -> Option<Stat> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may contain some.
    let (before, after) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = after.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Stat {
        pid,
        name: before.split_once('(')?.1.to_owned(),
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        cpu_ticks: number(11)? + number(12)?,
    })
}

/// All processes that have not ended.
fn running() -> impl Iterator<Item = Stat> {
    let entries = fs::read_dir("/proc").expect("a system with /proc");
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // A process may end while the list is read.
    pids.filter_map(stat).filter(|stat| stat.state != 'Z')
}

/// The processes of process group `group` that have not ended.
pub fn in_group(group: i32) -> Vec<i32> {
    running()
        .filter(|stat| stat.group == group)
        .map(|stat| stat.pid)
        .collect()
}

/// The children of `parent` that have not ended.
pub fn children(parent: i32) -> Vec<i32> {
    running()
        .filter(|stat| stat.parent == parent)
        .map(|stat| stat.pid)
        .collect()
}

/// The processes that `ancestor` has started, those that these have started, and so on.
pub fn descendants(ancestor: i32) -> Vec<i32> {
    let all: Vec<_> = running().collect();
    let mut found = vec![ancestor];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        let children = all.iter().filter(|stat| stat.parent == parent);
        found.extend(children.map(|stat| stat.pid));
        at += 1;
    }
    found.split_off(1)
}

/// A number of `/proc/PID/status`, for instance `VmHWM` in KiB; `None` if the process or the line does not exist.
pub fn status(pid: i32, name: &str) -> Option<usize> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeping() -> Process {
        Process::spawn(Command::new("sleep").arg("1000"))
    }

    #[test]
    fn a_child_exists_until_it_is_dropped() {
        let own = std::process::id().cast_signed();
        let child = sleeping();
        let pid = child.pid().as_raw_nonzero().get();
        let seen = stat(pid).expect("it runs");
        assert_eq!((seen.parent, seen.name.is_empty()), (own, false));
        assert!(children(own).contains(&pid) && descendants(own).contains(&pid));
        assert!(in_group(seen.group).contains(&pid));
        assert!(status(pid, "VmRSS").is_some());
        drop(child);
        assert!(stat(pid).is_none());
    }

    #[test]
    fn the_end_of_a_process_is_waited_for() {
        let mut child = sleeping();
        assert_eq!(child.try_wait(), None);
        child.signal(Signal::TERM);
        assert!(!child.wait().success());
        assert!(child.try_wait().is_some());
    }

    #[test]
    #[should_panic(expected = "still runs after 1ms")]
    fn a_process_that_does_not_end_fails_the_test() {
        sleeping().wait_within(Duration::from_millis(1));
    }

    #[test]
    fn standard_input_is_fed_and_may_stay_unread() {
        let large = vec![b'x'; 1 << 20];
        assert_eq!(feed(&mut Command::new("cat"), &large).stdout, large);
        assert!(feed(&mut Command::new("true"), &large).status.success());
    }
}
