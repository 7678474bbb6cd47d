//! The bound of blocking work: a deadline, and the interest of the task that waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Ends blocking work in time. Checked between reads; a read that never returns keeps its thread.
#[derive(Debug, Clone)]
pub(super) struct Bound {
    deadline: Instant,
    is_cancelled: Arc<AtomicBool>,
}

/// Cancels the work when it is dropped.
#[derive(Debug)]
pub(super) struct CancelOnDrop(Arc<AtomicBool>);

impl Bound {
    /// Creates a bound that ends at `deadline`, or when the second value is dropped.
    pub(super) fn new(deadline: Instant) -> (Self, CancelOnDrop) {
        let is_cancelled = Arc::new(AtomicBool::new(false));
        let bound = Self {
            deadline,
            is_cancelled: Arc::clone(&is_cancelled),
        };
        (bound, CancelOnDrop(is_cancelled))
    }

    /// Returns `true` once the work must end.
    pub(super) fn must_end(&self) -> bool {
        self.is_cancelled.load(Ordering::Relaxed) || Instant::now() >= self.deadline
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
