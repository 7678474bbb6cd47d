//! Children that this process did not fork: processes that its plugins left behind.

use std::io;

use rustix::process::{Pid, WaitOptions, getpid, set_child_subreaper, waitpid};

/// Makes this process the parent of every process below it whose own parent ends, so that whatever a plugin started stays a
/// descendant.
///
/// # Errors
///
/// Returns the error of the operating system.
pub(crate) fn become_subreaper() -> io::Result<()> {
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// Reaps the children that have ended and for which `is_forked` returns that this process did not fork them. Returns the first
/// forked one that has ended, if there is one: it may hide others, which are found once it was reaped.
///
/// # Errors
///
/// Returns the error of the operating system.
pub(crate) fn reap_adopted(is_forked: impl Fn(Pid) -> bool) -> io::Result<Option<Pid>> {
    while let Some(pid) = ended_child()? {
        if is_forked(pid) {
            return Ok(Some(pid));
        }
        // The child was seen, so it is there; an error means that it was reaped in between.
        let _ = waitpid(Some(pid), WaitOptions::NOHANG);
    }
    Ok(None)
}

/// Returns a child that has ended, without reaping it.
fn ended_child() -> io::Result<Option<Pid>> {
    // SAFETY: the structure consists of integers, for which zero is a value.
    let mut info = unsafe { std::mem::zeroed::<libc::siginfo_t>() };
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the kernel writes one structure of this type.
    let result = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, options) };
    if result < 0 {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::ECHILD) => Ok(None),
            _ => Err(error),
        };
    }
    // SAFETY: `waitid` fills this field, or leaves the zero if no child has ended.
    Ok(Pid::from_raw(unsafe { info.si_pid() }))
}
