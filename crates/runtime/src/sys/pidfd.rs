//! The pidfd of the process at the other end of a Unix socket.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// The pidfd of the peer of `socket` (Linux 6.5 and later). Unlike a process id it cannot come to mean another process.
///
/// # Errors
///
/// When the kernel does not know the option, or the process is gone.
pub(crate) fn of_peer(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut descriptor: RawFd = -1;
    let mut length = size_of::<RawFd>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, the size of the integer that `descriptor` is.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERPIDFD,
            (&raw mut descriptor).cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel made this descriptor for us, close-on-exec, and nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
