//! Crash points of a write; the tests abort the process at each of them.

/// A completed step of a write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// The names in a directory are durable.
    DirSynced,
    /// Half of a new file is written.
    HalfWritten,
    /// The lock is held.
    Locked,
    /// An unused file was removed.
    Removed,
    /// A file was renamed to its final path.
    Renamed,
    /// A new file is durable.
    Synced,
    /// A new file is written.
    Written,
}

#[cfg(not(test))]
#[inline(always)]
pub(super) fn reached(_: Step) {}

#[cfg(test)]
pub(super) use observed::{observe, reached};

#[cfg(test)]
mod observed {
    use std::cell::RefCell;

    use super::Step;

    type Observer = Box<dyn FnMut(Step)>;

    thread_local! {
        static OBSERVER: RefCell<Option<Observer>> = const { RefCell::new(None) };
    }

    /// Calls `observer` at each further step of this thread.
    pub(in super::super) fn observe(observer: impl FnMut(Step) + 'static) {
        OBSERVER.set(Some(Box::new(observer)));
    }

    pub(in super::super) fn reached(step: Step) {
        OBSERVER.with_borrow_mut(|observer| {
            if let Some(observer) = observer {
                observer(step);
            }
        });
    }
}
