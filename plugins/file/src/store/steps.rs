//! The moments of a write at which a crash is most interesting; the tests let the process die at each of them.

/// What has just been done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// The names in a directory are durable.
    DirSynced,
    /// Half of a new file is written.
    HalfWritten,
    /// The lock is ours.
    Locked,
    /// A file that is no longer needed was removed.
    Removed,
    /// A file was put in its place.
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

    /// Calls `observer` at each step that this thread reaches from now on.
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
