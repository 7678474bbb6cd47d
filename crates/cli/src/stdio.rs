//! Standard input, output and error as this program was started with them.
//!
//! `std` opens `/dev/null` in place of a closed one, takes a write to a descriptor that is not open for writing as done, and
//! fails if a descriptor does not block. The flag belongs to the open file, which other programs share, so it is left as it
//! is.

use std::io::{self, Read, stderr, stdin, stdout};
use std::os::fd::{AsFd, AsRawFd as _};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, FdFlags, fcntl_setfd};

use crate::sys;

/// Makes a program that this one executes start with the descriptors that were closed.
pub(crate) fn keep_closed() {
    for descriptor in [stdin().as_fd(), stdout().as_fd(), stderr().as_fd()] {
        if sys::was_closed(descriptor.as_raw_fd()) {
            // It is `/dev/null` if it is open at all.
            let _ = fcntl_setfd(descriptor, FdFlags::CLOEXEC);
        }
    }
}

/// Writes all bytes to standard output.
///
/// # Errors
///
/// Returns the error of the system, also if the descriptor is closed.
pub(crate) fn write_stdout(bytes: &[u8]) -> io::Result<()> {
    write_all(&stdout(), bytes)
}

/// Writes all bytes to standard error.
///
/// # Errors
///
/// Returns the error of the system, also if the descriptor is closed.
pub(crate) fn write_stderr(bytes: &[u8]) -> io::Result<()> {
    write_all(&stderr(), bytes)
}

fn write_all(stream: &impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = transfer(stream, PollFlags::OUT, || rustix::io::write(stream, bytes))?;
        bytes = &bytes[n..];
    }
    Ok(())
}

/// Standard input without a buffer of its own, which would keep a copy of a secret.
pub(crate) struct Stdin;

impl Read for Stdin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        transfer(&stdin(), PollFlags::IN, || {
            rustix::io::read(stdin(), &mut *buffer)
        })
    }
}

/// Reads or writes once, as soon as the descriptor allows it.
fn transfer(
    stream: &impl AsFd,
    readiness: PollFlags,
    mut call: impl FnMut() -> rustix::io::Result<usize>,
) -> io::Result<usize> {
    if sys::was_closed(stream.as_fd().as_raw_fd()) {
        return Err(io::Error::other("it is closed"));
    }
    loop {
        match call() {
            Err(Errno::AGAIN) => match poll(&mut [PollFd::new(stream, readiness)], None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            },
            Err(Errno::INTR) => {}
            done => return Ok(done?),
        }
    }
}
