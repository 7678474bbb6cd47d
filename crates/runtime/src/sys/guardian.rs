//! The guardian process, which kills process groups when the daemon is gone.
//!
//! As in [`child`](super::child), the code after the fork makes plain system calls on its own stack.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::process::Pid;

use super::child::forked;

/// Number of process groups that one guardian can watch.
pub(crate) const GUARDIAN_CAPACITY: usize = 1024;

/// One message to the guardian: a process group's number to watch it, the negated number to forget it. Small enough for the
/// kernel to write and read it in one piece.
pub(crate) type GuardianMessage = [u8; 4];

/// Forks the guardian: a process that reads [`GuardianMessage`]s from `pipe` and, when the pipe ends because every process
/// that could write to it is gone, kills the groups that it watches. Returns its process id.
///
/// # Errors
///
/// Returns the error of the operating system if it cannot create another process.
pub(crate) fn fork_guardian(pipe: &OwnedFd) -> io::Result<Pid> {
    let pipe = pipe.as_raw_fd();
    // SAFETY: the child runs `guard`, which makes only async-signal-safe system calls on its own stack, and never returns into
    // code that could find a lock held by a thread that does not exist here.
    match unsafe { libc::fork() } {
        0 => guard(pipe),
        pid => forked(pid),
    }
}

/// Runs the guardian; never returns.
fn guard(pipe: RawFd) -> ! {
    isolate(pipe);
    let mut groups = [0_i32; GUARDIAN_CAPACITY];
    loop {
        let mut message: GuardianMessage = [0; 4];
        // SAFETY: the buffer is four bytes of our own stack; descriptor 0 is the pipe.
        let n_read = unsafe { libc::read(0, message.as_mut_ptr().cast(), message.len()) };
        match n_read {
            4 => note(&mut groups, i32::from_ne_bytes(message)),
            // Nothing but a signal handler could interrupt the read, and all signals are blocked.
            _ => break,
        }
    }
    for group in groups.into_iter().filter(|group| *group > 1) {
        // SAFETY: `kill` has no memory effects. The group cannot be another one: its number is only reused when no process
        // of it is left, and the daemon sends "forget" before that.
        unsafe { libc::kill(-group, libc::SIGKILL) };
    }
    // SAFETY: leaves without running the exit handlers of the program that this is a copy of.
    unsafe { libc::_exit(0) }
}

/// Takes the guardian out of the daemon's terminal session and away from its signals, and closes every descriptor but the
/// pipe: an inherited copy of a plugin's socket would keep that plugin from seeing its end.
fn isolate(pipe: RawFd) {
    // SAFETY: plain system calls; the signal set and the name live on this stack and in the program's constant data.
    unsafe {
        libc::setsid();
        let mut signals = std::mem::zeroed::<libc::sigset_t>();
        libc::sigfillset(&raw mut signals);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const signals, ptr::null_mut());
        libc::prctl(libc::PR_SET_NAME, c"keyway-guardian".as_ptr());
        libc::dup2(pipe, 0);
        libc::syscall(libc::SYS_close_range, 1, libc::c_uint::MAX, 0);
    }
}

/// Adds or removes one group. Linear, because a few dozen plugins are many.
fn note(groups: &mut [i32], message: i32) {
    let (wanted, replacement) = if message > 0 {
        (0, message)
    } else {
        (message.wrapping_neg(), 0)
    };
    if let Some(slot) = groups.iter_mut().find(|slot| **slot == wanted) {
        *slot = replacement;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guardian_adds_and_removes_groups() {
        let mut groups = [0; 3];
        note(&mut groups, 7);
        note(&mut groups, 9);
        assert_eq!(groups, [7, 9, 0]);
        note(&mut groups, -7);
        note(&mut groups, 11);
        assert_eq!(groups, [11, 9, 0]);
        // An unknown group and the one number without a negation change nothing.
        note(&mut groups, -5);
        note(&mut groups, i32::MIN);
        assert_eq!(groups, [11, 9, 0]);
    }
}
