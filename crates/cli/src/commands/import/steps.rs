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
