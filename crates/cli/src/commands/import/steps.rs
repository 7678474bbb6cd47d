//! Steps of an import; the tests kill the process at each of them.

/// A completed step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A value is in the store.
    Stored,
    /// All values of a file were read back from the store.
    Verified,
    /// The backup is durable.
    BackedUp,
    /// The temporary file exists and is empty.
    Created,
    /// Half of the temporary file is written.
    HalfWritten,
    /// The temporary file is durable.
    Synced,
    /// The temporary file has taken the place of the file.
    Renamed,
    /// The names in the directory are durable.
    DirectorySynced,
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
