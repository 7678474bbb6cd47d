//! The socket that a runtime hands over, by its number in the environment.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

/// Opens the inherited descriptor once more, through the process's own list of
/// descriptors, which needs no unsafe code. A socket cannot be opened that way,
/// so it is duplicated with `pidfd_getfd`.
pub(crate) fn socket(fd: i32) -> io::Result<UnixStream> {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    let this = pidfd_open(getpid(), PidfdFlags::empty())?;
    let copy = pidfd_getfd(this.as_fd(), fd, PidfdGetfdFlags::empty())?;
    Ok(UnixStream::from(copy))
}
