//! The resources that a daemon and its plugins hold.

use std::collections::BTreeSet;
use std::fs;

use keyway_test_support::process::{descendants, stat, status};
use rustix::process::Pid;

/// The counts at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Census {
    /// Open descriptors of the daemon.
    pub(crate) n_descriptors: usize,
    /// The daemon's threads.
    pub(crate) n_threads: usize,
    /// The processes below the daemon, by name.
    pub(crate) processes: Vec<String>,
    /// Processes below the daemon that have ended and were not reaped.
    pub(crate) n_zombies: usize,
}

impl Census {
    /// Counts. Only root may see the descriptors of a process that is not dumpable.
    pub(crate) fn take(daemon: Pid) -> Self {
        let pid = daemon.as_raw_nonzero().get();
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).expect("the daemon runs");
        let below = descendants(pid);
        let mut processes: Vec<_> = below.iter().filter_map(|pid| stat(*pid)).collect();
        processes.sort_by(|one, other| one.name.cmp(&other.name));
        Self {
            n_descriptors: descriptors.count(),
            n_threads: status(pid, "Threads").expect("the daemon runs"),
            processes: processes.into_iter().map(|stat| stat.name).collect(),
            n_zombies: zombies(pid),
        }
    }

    /// Returns the counts that are greater than in `self` afterwards, or other. Threads may end later than they are needed.
    pub(crate) fn differs(&self, after: &Self) -> bool {
        after.n_descriptors > self.n_descriptors
            || after.n_threads > self.n_threads
            || after.processes != self.processes
            || after.n_zombies > 0
    }
}

/// The daemon's resident memory in KiB.
pub(crate) fn resident(daemon: Pid) -> usize {
    status(daemon.as_raw_nonzero().get(), "VmRSS").expect("the daemon runs")
}

/// The process groups of the daemon's descendants.
pub(crate) fn groups(daemon: Pid) -> BTreeSet<i32> {
    let below = descendants(daemon.as_raw_nonzero().get());
    let groups = below.into_iter().filter_map(|pid| Some(stat(pid)?.group));
    groups.collect()
}

fn zombies(parent: i32) -> usize {
    let entries = fs::read_dir("/proc").expect("a system with /proc");
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(stat)
        .filter(|stat| stat.parent == parent && stat.state == 'Z')
        .count()
}
