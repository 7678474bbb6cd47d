//! Counts the work of a core: every visit of a stream, also in an iteration over all streams.

use std::cell::Cell;

thread_local! {
    static LOOKS: Cell<u64> = const { Cell::new(0) };
}

/// One visit of a stream.
pub(crate) fn count() {
    LOOKS.set(LOOKS.get() + 1);
}

/// The number of visits in this thread.
pub(crate) fn looks() -> u64 {
    LOOKS.get()
}

/// Runs checks that no release build contains, such as those of invariants, without counting them.
pub(crate) fn uncounted(action: impl FnOnce()) {
    let before = looks();
    action();
    LOOKS.set(before);
}
