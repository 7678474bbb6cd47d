//! The only `unsafe` code of this crate: socket options without a sound safe wrapper, the signal mask, and descriptors that
//! are tied to tokio.
//!
//! The wrappers of `rustix` for `SO_PEERCRED` and `getsid` return a process id that must not be zero, and it is zero if the
//! peer, or the leader of the session, lives in a pid namespace that this process cannot see.

#![allow(unsafe_code, reason = "each block states why it is sound")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

#[cfg(feature = "tokio")]
use tokio::io::{Interest, unix::AsyncFd};

/// Reads the credentials that the kernel recorded for the peer of a Unix socket.
///
/// # Errors
///
/// An I/O error if the descriptor is not a connected socket. A socket of another family has no credentials: its uid and gid
/// are the invalid ones, `u32::MAX`.
pub(crate) fn peer_credentials(socket: BorrowedFd<'_>) -> io::Result<libc::ucred> {
    let mut credentials = libc::ucred {
        pid: 0,
        uid: u32::MAX,
        gid: u32::MAX,
    };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, the size of `credentials`, whose fields are integers for which
    // every bit pattern is valid.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(credentials)
}

/// Returns the session of a process, 0 if its leader lives in a pid namespace that this process cannot see.
///
/// # Errors
///
/// An I/O error if there is no such process.
pub(crate) fn session(pid: libc::pid_t) -> io::Result<libc::pid_t> {
    // SAFETY: the call takes and returns integers.
    match unsafe { libc::getsid(pid) } {
        -1 => Err(io::Error::last_os_error()),
        session => Ok(session),
    }
}

/// Opens a pidfd of the peer of a Unix socket (Linux 6.5 and later). Unlike a process id it never refers to another
/// process.
///
/// # Errors
///
/// An I/O error if the kernel does not know the option, or if the process is gone.
pub(crate) fn peer_pidfd(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
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
    // SAFETY: the kernel made this descriptor for this call, close-on-exec, and no other code knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Ties `descriptor`, which must not block, to the async runtime, for reading. A pidfd becomes readable when its process has
/// ended.
///
/// # Errors
///
/// Returns the error of the operating system if it cannot watch another descriptor; this one is closed then.
///
/// # Panics
///
/// Panics outside of a runtime with I/O.
#[cfg(feature = "tokio")]
pub fn readable(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` stays the same open descriptor for as long as it lives, and `AsyncFd` owns it.
    let readable = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
    Ok(readable?)
}

/// Unblocks every signal in the calling thread and in the threads that it starts. A process inherits its mask from the one
/// that started it, and without SIGTERM and SIGCHLD it neither stops nor sees its children end.
///
/// # Errors
///
/// Returns the error of the operating system.
pub fn unblock_signals() -> io::Result<()> {
    let mut signals = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the first call initializes the set, which lives on this stack, and the second one reads it.
    let error = unsafe {
        libc::sigemptyset(signals.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, signals.as_ptr(), std::ptr::null_mut())
    };
    match error {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}
