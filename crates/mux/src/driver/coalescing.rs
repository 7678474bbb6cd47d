//! Write coalescing: frames of several tasks wait for each other, to be sent in one system call.

/// The number of tasks woken by one read from which on the first half is flushed before the second has written.
const MIN_HALVED: usize = 8;

/// Tracks whether tasks that were woken together have written.
#[derive(Debug, Default)]
pub(super) struct Coalescing {
    is_active: bool,
    /// The driver has yielded to the other tasks, or half of them have written.
    has_yielded: bool,
    /// The number of writes that complete the first half after a read; 0 after it.
    writes_to_half: usize,
}

impl Coalescing {
    /// Returns `true` if a task is to leave its frames to the driver, because other tasks were woken with it.
    pub(super) const fn is_active(&self) -> bool {
        self.is_active
    }

    /// Tasks were woken together, and will write soon.
    pub(super) const fn tasks_woken(&mut self, tasks: usize) {
        self.is_active |= tasks > 1;
    }

    /// Tasks were woken by a read. If they are many, the first half of their writes is flushed at once, so that the peer
    /// handles these while this end writes the others. Otherwise both ends would wait for each other's whole batches.
    pub(super) const fn readers_woken(&mut self, tasks: usize) {
        self.tasks_woken(tasks);
        if tasks > 0 {
            self.writes_to_half = if tasks < MIN_HALVED { 0 } else { tasks / 2 };
        }
    }

    /// A task has written. Returns whether that completes the first half after a read.
    pub(super) const fn completes_half(&mut self) -> bool {
        let is_last = self.writes_to_half == 1;
        self.writes_to_half = self.writes_to_half.saturating_sub(1);
        self.has_yielded |= is_last;
        is_last
    }

    /// The driver is polled. Returns whether it is to yield once before it flushes, so that other tasks can write: those
    /// that were woken together, or that of a stream whose SYN waits for data.
    pub(super) const fn should_yield(&mut self, may_yield: bool, has_syn_due: bool) -> bool {
        let yields = may_yield && !self.has_yielded && (self.is_active || has_syn_due);
        self.has_yielded = yields;
        self.is_active &= yields;
        yields
    }
}
