//! Counts how much a core has to do: every look at a stream, and every stream that is passed on the
//! way over all of them.

use std::cell::Cell;

thread_local! {
    static LOOKS: Cell<u64> = const { Cell::new(0) };
}

/// One look at a stream.
pub(crate) fn count() {
    LOOKS.set(LOOKS.get() + 1);
}

/// How many looks there were in this thread.
pub(crate) fn looks() -> u64 {
    LOOKS.get()
}

/// Does what no release does, such as checking invariants, without counting it.
pub(crate) fn uncounted(action: impl FnOnce()) {
    let before = looks();
    action();
    LOOKS.set(before);
}
