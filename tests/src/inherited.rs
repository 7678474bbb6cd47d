//! The descriptor that a launched plugin inherits. The only unsafe code of this crate.
#![allow(unsafe_code)]

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Takes ownership of the descriptor in the launch variable. `main` calls it once, before anything else.
pub(crate) fn take(number: RawFd) -> OwnedFd {
    // SAFETY: the runtime that started this process made the descriptor for it, and nothing else in the process uses it.
    unsafe { OwnedFd::from_raw_fd(number) }
}
