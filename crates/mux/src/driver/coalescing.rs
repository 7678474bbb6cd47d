//! Write coalescing: when frames of several tasks wait for each other, to leave in one system call.

/// How many tasks a read must wake for the first half of them to be flushed before the other half has written.
const MIN_HALVED: usize = 8;

/// Whether tasks that were woken together are still to write.
#[derive(Debug, Default)]
pub(super) struct Coalescing {
    is_active: bool,
    /// The other tasks had time to write: the driver has let them run, or half of them have written.
    has_yielded: bool,
    /// How many writes complete the first half of those that follow a read; 0 after it.
    writes_to_half: usize,
}

impl Coalescing {
    /// Whether a task that was woken with others is to leave its frames to the driver.
    pub(super) const fn is_active(&self) -> bool {
        self.is_active
    }

    /// Tasks were woken together, and will write soon.
    pub(super) const fn tasks_woken(&mut self, tasks: usize) {
        self.is_active |= tasks > 1;
    }

    /// The same by a read. If the tasks are many, half of their writes are flushed at once, so that the peer handles
    /// these while this end writes the others. Otherwise both ends would wait for each other's whole batches.
    pub(super) const fn readers_woken(&mut self, tasks: usize) {
        self.tasks_woken(tasks);
        if tasks > 0 {
            self.writes_to_half = if tasks < MIN_HALVED { 0 } else { tasks / 2 };
        }
    }

    /// A task has written. Returns whether that completes half of the writes that follow a read.
    pub(super) const fn completes_half(&mut self) -> bool {
        let is_last = self.writes_to_half == 1;
        self.writes_to_half = self.writes_to_half.saturating_sub(1);
        self.has_yielded |= is_last;
        is_last
    }

    /// The driver is polled. Returns whether it is to let the other tasks write before it flushes: once, if `may_yield` and
    /// tasks are to write, which they are if a SYN waits for the data of its stream.
    pub(super) const fn should_yield(&mut self, may_yield: bool, has_syn_due: bool) -> bool {
        let yields = may_yield && !self.has_yielded && (self.is_active || has_syn_due);
        self.has_yielded = yields;
        self.is_active &= yields;
        yields
    }
}
