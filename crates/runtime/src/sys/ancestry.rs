//! Detects whether another process descends from this one.

use std::fs;
use std::io;

use rustix::io::Errno;
use rustix::process::{Pid, getpid, test_kill_process};

/// Number of generations that are followed. Deeper trees exist only to lead this search astray.
const MAX_GENERATIONS: usize = 1024;

/// Number of times the search begins again because an ancestor ended meanwhile.
const MAX_ATTEMPTS: usize = 16;

/// Returns `true` if the process `pid` descends from this one, or may do so: it has ended, or its ancestors end faster than they
/// are followed.
///
/// As process 1 this process is the ancestor of every other, so the result is always `false`. A chain that
/// leads through a process of another user that `/proc` hides is not followed further.
pub(crate) fn is_descendant(pid: Pid) -> bool {
    let own = getpid();
    if own == Pid::INIT {
        return false;
    }
    (0..MAX_ATTEMPTS)
        .find_map(|_| descends(pid, own))
        .unwrap_or(true)
}

/// Follows the parents of `pid`; `None` if one of them ended meanwhile, so that its child has another parent now.
fn descends(pid: Pid, own: Pid) -> Option<bool> {
    let mut current = pid;
    for _ in 0..MAX_GENERATIONS {
        match parent(current) {
            Ok(Some(parent)) if parent == own => return Some(true),
            Ok(Some(parent)) if parent != Pid::INIT => current = parent,
            Ok(_) => return Some(false),
            // A process that is hidden from us is there, and may not be signalled by us.
            Err(_) if test_kill_process(current) == Err(Errno::PERM) => return Some(false),
            Err(_) => return None,
        }
    }
    Some(true)
}

/// Returns the parent of `pid`; `None` for the first process of a namespace.
fn parent(pid: Pid) -> io::Result<Option<Pid>> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))?;
    parent_in(&stat).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// Reads the parent from a line of `/proc/PID/stat`. The name of the process comes in parentheses, and may hold any others.
fn parent_in(stat: &str) -> Option<Option<Pid>> {
    let (_, rest) = stat.rsplit_once(')')?;
    let parent: i32 = rest.split_ascii_whitespace().nth(1)?.parse().ok()?;
    (parent >= 0).then(|| Pid::from_raw(parent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn the_parent_is_read_behind_any_name() {
        assert_eq!(parent_in("7 (x) S 5 7 7"), Some(Pid::from_raw(5)));
        assert_eq!(parent_in("7 (a) S 9 (b) R 5 7"), Some(Pid::from_raw(5)));
        assert_eq!(parent_in("1 (init) S 0 1"), Some(None));
        assert_eq!(parent_in("7 (x S 5"), None);
        assert_eq!(parent_in("7 (x) S -5"), None);
    }

    #[test]
    fn a_grandchild_descends_from_us_and_an_ancestor_does_not() {
        // The outer shell waits for the inner one, which prints its own number and waits for the end of its input.
        let mut child = Command::new("sh")
            .args(["-c", "sh -c 'echo $$; read line'; true"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut line = String::new();
        let stdout = child.stdout.as_mut().expect("a pipe");
        io::BufRead::read_line(&mut io::BufReader::new(stdout), &mut line).expect("a line");
        let grandchild = line
            .trim()
            .parse()
            .ok()
            .and_then(Pid::from_raw)
            .expect("a pid");
        assert!(is_descendant(Pid::from_child(&child)));
        assert!(is_descendant(grandchild));
        drop(child.stdin.take());
        child.wait().expect("ended");
        // It has ended: its ancestors are unknown from then on.
        assert!(is_descendant(grandchild));

        assert!(!is_descendant(Pid::INIT));
        assert!(!is_descendant(getpid()));
        let parent = rustix::process::getppid().expect("a parent");
        assert!(!is_descendant(parent));
    }
}
