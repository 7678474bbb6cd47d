//! The launch variable that the process inherits from the runtime that launched it, and the descriptor that it names.
//!
//! The one module with unsafe code. Two facts cannot be expressed in the type system: that no other thread reads the
//! environment, and that a number names an open descriptor without another owner.
#![allow(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

use crate::process;

/// Removes a variable from the environment, so that no child of this process inherits it.
///
/// # Errors
///
/// Returns [`MultiThreaded`] if the variable is set and the process has more than one thread.
pub(crate) fn take_variable(name: &str) -> Result<Option<OsString>, MultiThreaded> {
    let Some(value) = std::env::var_os(name) else {
        return Ok(None);
    };
    match process::thread_count() {
        Ok(1) => {}
        Ok(threads) => return Err(MultiThreaded { threads }),
        // Without /proc the number is unknown; the documentation of `run` demands a plain `main`.
        Err(_) => {}
    }
    #[expect(clippy::disallowed_methods, reason = "no other thread exists")]
    // SAFETY: changing the environment is a data race only with another thread that uses it, and this is the only
    // thread of the process.
    unsafe {
        std::env::remove_var(OsStr::new(name));
    }
    Ok(Some(value))
}

/// The process has more than one thread.
#[derive(Debug)]
pub(crate) struct MultiThreaded {
    pub(crate) threads: usize,
}

/// Takes ownership of an inherited descriptor and marks it close-on-exec.
///
/// # Errors
///
/// Returns an [`io::Error`] if the descriptor is not open, or if it is marked close-on-exec: then this process opened
/// it, and it has another owner.
pub(crate) fn take_descriptor(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the descriptor is borrowed for two system calls that report a number that is not open as an error; no
    // other thread can close it in between, because `take_variable` was called before with one thread.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    if fcntl_getfd(borrowed)?.contains(FdFlags::CLOEXEC) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the descriptor was not inherited",
        ));
    }
    fcntl_setfd(borrowed, FdFlags::CLOEXEC)?;
    // SAFETY: the number is open, as the calls above have shown. It survived an exec, so no Rust object of this process
    // opened it; and the launch variable that names it was removed from the environment, so it is taken only once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
