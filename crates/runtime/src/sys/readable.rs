//! Waiting until a descriptor can be read.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Ties `descriptor`, which must not block, to the async runtime. A pidfd becomes readable when its process has ended.
///
/// # Errors
///
/// Returns the error of the operating system if it cannot watch another descriptor; this one is closed then.
pub(crate) fn readable(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` stays the same open descriptor for as long as it lives, and `AsyncFd` owns it.
    let readable = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
    Ok(readable?)
}
