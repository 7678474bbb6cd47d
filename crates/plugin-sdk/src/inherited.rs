//! What the process was given by whoever started it: the launch variable and the descriptor that it names.
//!
//! The one module with unsafe code. Two facts cannot be expressed in the type system: that no other thread reads the
//! environment, and that a number names an open descriptor that nobody else owns.
#![allow(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

use crate::process;

/// Takes a variable out of the environment, so that no child of this process inherits it.
///
/// # Errors
///
/// When the process has more than one thread and the variable is set.
pub(crate) fn take_variable(name: &str) -> Result<Option<OsString>, NotAlone> {
    let Some(value) = std::env::var_os(name) else {
        return Ok(None);
    };
    match process::thread_count() {
        Ok(1) => {}
        Ok(threads) => return Err(NotAlone { threads }),
        // Without /proc nobody can tell; the documentation of `run` asks for a plain `main`.
        Err(_) => {}
    }
    // SAFETY: changing the environment is a data race only with another thread that uses it, and this process has one
    // thread, which is here.
    unsafe { std::env::remove_var(OsStr::new(name)) };
    Ok(Some(value))
}

/// The process has threads already.
#[derive(Debug)]
pub(crate) struct NotAlone {
    pub(crate) threads: usize,
}

/// Takes an inherited descriptor over, and keeps children of this process from inheriting it.
///
/// # Errors
///
/// When there is no such descriptor, or it is marked close-on-exec: then it was opened by this process and not
/// inherited, and belongs to somebody else.
pub(crate) fn take_descriptor(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the descriptor is borrowed for two system calls that report a number that is not open as an error; no
    // other thread can close it in between, because `take_variable` was called before with one thread.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    if fcntl_getfd(borrowed)?.contains(FdFlags::CLOEXEC) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it was not inherited",
        ));
    }
    fcntl_setfd(borrowed, FdFlags::CLOEXEC)?;
    // SAFETY: the number is open, as the calls above have shown. It survived an exec, so no Rust object of this process
    // opened it; and the launch variable that names it was taken out of the environment, so it is taken only once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
