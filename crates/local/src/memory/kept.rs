//! [`Kept`]: a value that leaves when its memory is needed.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::{SharedPool, lock};

/// A value that a [`MemoryBudget`](super::MemoryBudget) keeps as long as no message needs its memory.
pub struct Kept<T> {
    value: Arc<Cell<T>>,
    pool: SharedPool,
    ticket: u64,
}

struct Cell<T>(Mutex<Option<T>>);

/// Drops a value whose memory is needed. The value must not use the budget when it is dropped.
pub(super) trait Evict: Send + Sync {
    fn evict(&self);
}

impl<T: Send + 'static> Kept<T> {
    pub(super) fn new(pool: &SharedPool, value: T, bytes: u64) -> Option<Self> {
        let value = Arc::new(Cell(Mutex::new(Some(value))));
        let weak: Weak<Cell<T>> = Arc::downgrade(&value);
        let ticket = lock(pool).keep(bytes, weak)?;
        Some(Self {
            value,
            pool: Arc::clone(pool),
            ticket,
        })
    }
}

impl<T: Clone> Kept<T> {
    /// Returns the value, unless its memory was needed.
    #[must_use]
    pub fn get(&self) -> Option<T> {
        self.value.lock().clone()
    }
}

impl<T> Cell<T> {
    fn lock(&self) -> MutexGuard<'_, Option<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send> Evict for Cell<T> {
    fn evict(&self) {
        *self.lock() = None;
    }
}

impl<T> Drop for Kept<T> {
    fn drop(&mut self) {
        lock(&self.pool).drop_kept(self.ticket);
    }
}

impl<T> fmt::Debug for Kept<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}

impl fmt::Debug for dyn Evict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Evict")
    }
}
