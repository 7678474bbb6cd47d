//! Processes and the processor time that they use.
#![forbid(unsafe_code)]

use std::fs;

/// The processes that process `pid` has started, and those that these have started.
///
/// # Panics
///
/// If there is no such process.
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut found = children(pid);
    let mut at = 0;
    while let Some(pid) = found.get(at) {
        found.extend(children(*pid));
        at += 1;
    }
    found
}

fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("a process");
    threads
        .flatten()
        .flat_map(|thread| {
            // A thread that has ended meanwhile has no children.
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            let pids = children.split_ascii_whitespace();
            pids.map(|pid| pid.parse().expect("a process id"))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// The processor time that process `pid` has used, in ticks of the kernel: 10 ms on every common system.
///
/// # Panics
///
/// If there is no such process.
pub fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let (_, fields) = stat.rsplit_once(')').expect("the name is in brackets");
    // The state is field 3, the times in user and kernel mode are fields 14 and 15.
    let times = fields.split_ascii_whitespace().skip(11).take(2);
    times
        .map(|ticks| ticks.parse::<u64>().expect("a number"))
        .sum()
}

/// The name of process `pid`.
///
/// # Panics
///
/// If there is no such process.
pub fn name(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).expect("a process");
    name.trim().to_owned()
}
