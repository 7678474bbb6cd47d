//! Steps of a write and of a reader; the tests abort the process at each of them, or let another writer go first.

/// A completed step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// The names in a directory are durable.
    DirSynced,
    /// Half of a new file is written.
    HalfWritten,
    /// A reader has opened the index.
    IndexOpened,
    /// A file has a second name.
    Linked,
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
thread_local! {
    static OBSERVER: keyway_test_support::Observer<Step> = const { keyway_test_support::Observer::new() };
}

#[cfg(test)]
pub(super) fn reached(step: Step) {
    OBSERVER.with(|observer| observer.notify(step));
}

/// Calls `observer` at each further step of this thread.
#[cfg(test)]
pub(super) fn observe(observer: impl FnMut(Step) + 'static) {
    OBSERVER.with(|current| current.set(observer));
}
