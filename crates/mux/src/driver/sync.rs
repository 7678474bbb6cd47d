//! The lock of a session: the standard one, or loom's for the tests of all interleavings.

#[cfg(keyway_loom)]
pub(super) use loom::sync::Mutex;
#[cfg(not(keyway_loom))]
pub(super) use std::sync::Mutex;
