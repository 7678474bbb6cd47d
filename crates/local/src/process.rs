//! The facts of one process from `/proc`, and whether it is still the same process.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::str::FromStr;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, getpid, pidfd_open};

use crate::sys;

/// Number of generations of ancestors in which another program is looked for.
const MAX_GENERATIONS: usize = 4;

/// A process that stays the same one: its pid, with a pidfd where the kernel has them.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    /// `None` where the kernel has no pidfds.
    pidfd: Option<OwnedFd>,
    /// `true` if `/proc` shows the pids that this process knows.
    is_visible: bool,
    /// The facts at the time when the value was made.
    first: ProcessFacts,
}

/// The facts of a process from `/proc` at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessFacts {
    /// The path of its executable; empty if it cannot be read (another user's process, or one that has ended).
    pub executable: PathBuf,
    /// Start time of the process in clock ticks since the machine started. Together with the pid it identifies a process for good.
    pub start_time: Option<u64>,
}

impl Process {
    /// Identifies the peer of a connected Unix socket, whose pid is `pid`.
    #[must_use]
    pub fn of_peer(socket: impl AsFd, pid: Pid) -> Self {
        // The pid can be reused from the moment of the connection on; the pidfd of the socket cannot. The second way is
        // for kernels before 6.5.
        let pidfd = sys::peer_pidfd(socket.as_fd())
            .or_else(|_| Ok::<_, io::Error>(pidfd_open(pid, PidfdFlags::empty())?))
            .ok();
        Self::new(pid, pidfd)
    }

    /// Identifies the process `pid` by `pidfd`, or by its start time without one.
    #[must_use]
    pub fn new(pid: Pid, pidfd: Option<OwnedFd>) -> Self {
        let is_visible = proc_shows_our_pids();
        // Without a pidfd the start time of this reading shows whether a later one is of the same process.
        let first = if is_visible {
            ProcessFacts::read(pid)
        } else {
            ProcessFacts::default()
        };
        let mut process = Self {
            pid,
            pidfd,
            is_visible,
            first,
        };
        if process.pidfd.is_some() && !process.is_alive() {
            // The reading may have been of a process that got the pid.
            process.first = ProcessFacts::default();
        }
        process
    }

    /// Returns the pid.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Returns the pidfd, which is `None` where the kernel has none.
    #[must_use]
    pub fn pidfd(&self) -> Option<&OwnedFd> {
        self.pidfd.as_ref()
    }

    /// Reads the facts of the process from `/proc`. Everything is empty if it has ended: then the pid may be another's.
    ///
    /// The start time of a living process never changes, so only the executable is read again.
    #[must_use]
    pub fn facts(&self) -> ProcessFacts {
        if !self.is_visible {
            return ProcessFacts::default();
        }
        let facts = ProcessFacts {
            executable: executable(self.pid),
            start_time: self.first.start_time.or_else(|| read_start_time(self.pid)),
        };
        // The order matters: alive after the reading means that the reading was of this process.
        if self.is_alive() {
            facts
        } else {
            ProcessFacts::default()
        }
    }

    /// Reads the executable of the nearest ancestor, at most four generations up, that runs another program. Empty if it cannot be
    /// read, or if this process has ended.
    #[must_use]
    pub fn parent_executable(&self) -> PathBuf {
        if !self.is_visible {
            return PathBuf::new();
        }
        let own = executable(self.pid);
        let ancestors = std::iter::successors(parent(self.pid), |pid| parent(*pid));
        let mut executables = ancestors.take(MAX_GENERATIONS).map(executable);
        let executable = executables.find(|executable| *executable != own);
        // As in `facts`: alive afterwards means that the ancestors are those of this process.
        executable.filter(|_| self.is_alive()).unwrap_or_default()
    }

    /// Returns the facts at the time when the value was made.
    #[must_use]
    pub fn first_facts(&self) -> &ProcessFacts {
        &self.first
    }

    /// Returns `true` while the process has not ended.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        match &self.pidfd {
            Some(pidfd) => {
                let mut fds = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
                // A pidfd is readable once its process has ended.
                matches!(poll(&mut fds, Some(&Timespec::default())), Ok(0))
            }
            None => {
                let start_time = read_start_time(self.pid);
                start_time.is_some() && start_time == self.first.start_time
            }
        }
    }

    /// Returns `true` if the process is in another pid namespace, or if that is unknown: a container.
    #[must_use]
    pub fn is_contained(&self) -> bool {
        // In this order for the same reason as in `facts`.
        is_contained(Some(self.pid)) || !self.is_alive()
    }
}

impl ProcessFacts {
    fn read(pid: Pid) -> Self {
        Self {
            executable: executable(pid),
            start_time: read_start_time(pid),
        }
    }
}

/// Returns `true` if the process `pid` is in another pid namespace than this one, or if that is unknown: its pid is
/// unknown, or `/proc` does not show it.
#[must_use]
pub fn is_contained(pid: Option<Pid>) -> bool {
    let Some(pid) = pid.filter(|_| proc_shows_our_pids()) else {
        return true;
    };
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero()));
    status.map_or(true, |status| namespace_depth(&status) != Some(1))
}

/// Returns `true` if a signal (SIGSTOP, SIGTSTP) or a debugger has stopped the process `pid`, according to `/proc`.
#[must_use]
pub fn is_stopped(pid: Pid) -> bool {
    let state = read_stat(pid).and_then(|stat| field(&stat, 3));
    matches!(state, Some('T' | 't'))
}

/// Returns `true` if the process `pid` is in the session of this process, whose process groups this process and its children
/// may join.
#[must_use]
pub fn is_in_own_session(pid: Pid) -> bool {
    const OWN: libc::pid_t = 0;
    let session = sys::session(pid.as_raw_nonzero().get());
    session.is_ok_and(|session| sys::session(OWN).is_ok_and(|own| session == own))
}

/// Returns the pid namespaces in which a process has a pid, counted from that of the reader: the entries of `NSpid`.
fn namespace_depth(status: &str) -> Option<usize> {
    // The name of the process comes before it and has no line breaks: the kernel escapes them.
    let pids = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?;
    Some(pids.split_ascii_whitespace().count())
}

/// Returns `false` if `/proc` belongs to another pid namespace, where our pids name other processes (`unshare --pid`
/// without `--mount-proc`).
fn proc_shows_our_pids() -> bool {
    fs::read_link("/proc/self").is_ok_and(|link| {
        link.as_os_str().as_encoded_bytes()
            == getpid().as_raw_nonzero().get().to_string().as_bytes()
    })
}

fn executable(pid: Pid) -> PathBuf {
    fs::read_link(format!("/proc/{}/exe", pid.as_raw_nonzero())).unwrap_or_default()
}

fn parent(pid: Pid) -> Option<Pid> {
    Pid::from_raw(field(&read_stat(pid)?, 4)?)
}

fn read_start_time(pid: Pid) -> Option<u64> {
    field(&read_stat(pid)?, 22)
}

fn read_stat(pid: Pid) -> Option<String> {
    fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()
}

/// Returns a field of `/proc/PID/stat`, counted from 1 as in proc(5), from the third on. The second field, the program's name in
/// parentheses, may contain anything, so the count starts behind the last parenthesis.
fn field<T: FromStr>(stat: &str, number: usize) -> Option<T> {
    let (_, rest) = stat.rsplit_once(')')?;
    let index = number.checked_sub(3)?;
    rest.split_ascii_whitespace().nth(index)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::process::{Child, Command, Stdio};

    use rustix::process::{Signal, kill_process};

    use super::*;

    /// A process that sleeps until it is dropped.
    struct Sleeper(Child);

    impl Sleeper {
        fn start() -> Self {
            let mut command = Command::new("sleep");
            command
                .arg("600")
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            Self(command.spawn().unwrap())
        }

        fn pid(&self) -> Pid {
            Pid::from_child(&self.0)
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            self.0.kill().and_then(|()| self.0.wait()).unwrap();
        }
    }

    #[test]
    fn fields_are_found_behind_a_hostile_name() {
        let numbers: Vec<String> = (4..60).map(|n| n.to_string()).collect();
        let stat = format!("42 (a) b (c)) S {}", numbers.join(" "));
        assert_eq!(field(&stat, 22), Some(22_u64));
        assert_eq!(field(&stat, 4), Some(4));
        assert_eq!(field::<u64>("garbage", 22), None);
        assert_eq!(field::<u64>("1 (short) S 1 2", 22), None);
    }

    #[test]
    fn the_parent_of_a_process_is_the_one_that_started_it() {
        let sleeper = Sleeper::start();
        let process = Process::new(sleeper.pid(), None);
        let own = std::env::current_exe().unwrap();
        assert_eq!(process.parent_executable(), own);
        drop(sleeper);
        assert_eq!(process.parent_executable(), PathBuf::new());
    }

    #[test]
    fn a_stopped_process_is_stopped_until_it_continues() {
        let sleeper = Sleeper::start();
        let pid = sleeper.pid();
        assert!(!is_stopped(pid));
        for (signal, stopped) in [(Signal::STOP, true), (Signal::CONT, false)] {
            kill_process(pid, signal).unwrap();
            while is_stopped(pid) != stopped {
                std::thread::yield_now();
            }
        }
        drop(sleeper);
        assert!(!is_stopped(pid));
    }

    #[test]
    fn a_child_is_in_the_session_of_its_parent_until_it_leaves() {
        let sleeper = Sleeper::start();
        let pid = sleeper.pid();
        assert!(is_in_own_session(pid));
        drop(sleeper);
        assert!(!is_in_own_session(pid));
    }

    #[test]
    fn the_state_is_found_behind_a_hostile_name() {
        assert_eq!(field("42 (a) T (c)) S 1", 3), Some('S'));
        assert_eq!(field("42 (sleep) t 1", 3), Some('t'));
        assert_eq!(field::<char>("garbage", 3), None);
    }

    #[test]
    fn the_peer_of_a_socket_is_identified() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let process = Process::of_peer(&ours, getpid());
        assert_eq!(process.facts().executable, std::env::current_exe().unwrap());
        assert_eq!(&process.facts(), process.first_facts());
        assert!(process.pidfd().is_some(), "this kernel has pidfds");
        assert!(!process.is_contained());
    }

    #[test]
    fn a_process_that_has_ended_has_no_facts() {
        for has_pidfd in [true, false] {
            let sleeper = Sleeper::start();
            let pid = sleeper.pid();
            let pidfd = has_pidfd.then(|| pidfd_open(pid, PidfdFlags::empty()).unwrap());
            let process = Process::new(pid, pidfd);
            assert!(process.is_alive() && process.facts().start_time.is_some());
            drop(sleeper);
            assert!(!process.is_alive());
            assert_eq!(process.facts(), ProcessFacts::default());
            assert!(process.first_facts().start_time.is_some());
            assert!(process.is_contained(), "a process that is gone is unknown");
        }
    }

    #[test]
    fn a_process_that_executes_another_program_keeps_its_start_time() {
        for has_pidfd in [true, false] {
            // The shell waits for a line before it becomes another program.
            let mut shell = Command::new("sh")
                .args(["-c", "read line; exec sleep 600"])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let pid = Pid::from_child(&shell);
            let pidfd = has_pidfd.then(|| pidfd_open(pid, PidfdFlags::empty()).unwrap());
            let shell_path = fs::canonicalize("/bin/sh").unwrap();
            let process = Process::new(pid, pidfd);
            drop(shell.stdin.take());
            let shell = Sleeper(shell);
            while process.facts().executable == shell_path {
                std::thread::yield_now();
            }
            let (facts, first) = (process.facts(), process.first_facts());
            assert_eq!(facts.start_time, first.start_time);
            assert_eq!(first.executable, shell_path);
            assert!(facts.executable.is_absolute() && facts.executable != shell_path);
            drop(shell);
        }
    }

    #[test]
    fn more_than_one_pid_means_another_namespace() {
        let status = |line: &str| format!("Name:\tNSpid: 1 2\nPid:\t7\n{line}VmPeak:\t1 kB\n");
        assert_eq!(namespace_depth(&status("NSpid:\t7\n")), Some(1));
        assert_eq!(namespace_depth(&status("NSpid:\t7\t1\n")), Some(2));
        assert_eq!(namespace_depth(&status("")), None);
    }

    #[test]
    fn an_unknown_process_is_contained() {
        assert!(is_contained(None));
        let sleeper = Sleeper::start();
        let pid = sleeper.pid();
        assert!(!is_contained(Some(pid)));
        drop(sleeper);
        assert!(is_contained(Some(pid)));
    }
}
