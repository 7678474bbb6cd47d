//! Looking at processes.

use std::fs;
use std::time::Duration;

/// The processes of process group `group` that have not ended.
pub fn group(group: i32) -> Vec<i32> {
    all()
        .into_iter()
        .filter(|process| process.group == group && process.state != 'Z')
        .map(|p| p.pid)
        .collect()
}

/// The children of `parent` that have not ended.
pub fn children(parent: i32) -> Vec<i32> {
    all()
        .into_iter()
        .filter(|process| process.parent == parent && process.state != 'Z')
        .map(|p| p.pid)
        .collect()
}

/// Waits until `condition` holds, for at most `limit`; says whether it came to hold. For what nothing announces.
pub async fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = tokio::time::Instant::now() + limit;
    while !condition() {
        if tokio::time::Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    true
}

struct Process {
    pid: i32,
    state: char,
    parent: i32,
    group: i32,
}

fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").expect("a system with /proc");
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // A process may end while it is looked at.
    pids.filter_map(read).collect()
}

fn read(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    Some(Process {
        pid,
        state: fields.next()?.chars().next()?,
        parent: fields.next()?.parse().ok()?,
        group: fields.next()?.parse().ok()?,
    })
}
