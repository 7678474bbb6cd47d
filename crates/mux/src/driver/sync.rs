//! The lock of a session: the standard one, or loom's where every interleaving is tried.

#[cfg(keyway_loom)]
pub(super) use loom::sync::Mutex;
#[cfg(not(keyway_loom))]
pub(super) use std::sync::Mutex;
