//! What runs in a forked process before it becomes something else.
//!
//! Between `fork` and `exec` a process of a program with threads may do very little: another thread may have held the
//! allocator's lock when the process was copied, and nobody is left to release it. So every function here that runs in the
//! child makes plain system calls on values computed before the fork; it never allocates, locks or panics.

use std::ffi::{CString, OsStr, OsString, c_char};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::ptr;

use rustix::process::{Pid, Resource, Rlimit, Signal, getppid, setrlimit};

use crate::launch::PLUGIN_DESCRIPTOR;

/// A program to execute: everything that `execve` wants, made before the fork.
#[derive(Debug)]
pub(crate) struct Image {
    path: CString,
    /// The strings that `argv` points to.
    _arguments: Vec<CString>,
    /// The strings that `envp` points to.
    _environment: Vec<CString>,
    /// Ends with a null pointer, as `envp` does.
    argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
}

// SAFETY: the pointers lead into heap buffers that the same value owns and never changes, so it may move between threads and be
// read by several.
unsafe impl Send for Image {}
// SAFETY: as above.
unsafe impl Sync for Image {}

impl Image {
    /// The program at `path`, called `argv0`, with `environment` and nothing else.
    ///
    /// # Errors
    ///
    /// When a text contains a zero byte.
    pub(crate) fn new<'a>(
        path: &Path,
        argv0: &OsStr,
        environment: impl IntoIterator<Item = (&'a OsString, &'a OsString)>,
    ) -> io::Result<Self> {
        let arguments = vec![CString::new(argv0.as_bytes())?];
        let mut variables = Vec::new();
        for (key, value) in environment {
            let mut variable = key.clone();
            variable.push("=");
            variable.push(value);
            variables.push(CString::new(variable.into_vec())?);
        }
        let path = CString::new(path.as_os_str().as_bytes())?;
        let (argv, envp) = (pointers(&arguments), pointers(&variables));
        Ok(Self {
            path,
            _arguments: arguments,
            _environment: variables,
            argv,
            envp,
        })
    }

    /// Becomes the program; returns only when that failed.
    ///
    /// Called by us and not by the standard library, whose `execvp` hands a file of unknown format to a shell: a text file
    /// with the executable bit must be an error, not a script.
    fn execute(&self) -> io::Error {
        // SAFETY: `path` and the strings behind `argv` and `envp` end with a zero byte, both lists end with a null pointer, and
        // all of them live as long as `self`. The call is async-signal-safe.
        unsafe { libc::execve(self.path.as_ptr(), self.argv.as_ptr(), self.envp.as_ptr()) };
        io::Error::last_os_error()
    }
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([ptr::null()])
        .collect()
}

/// Arranges that the child of `command` becomes `image` with `socket` at descriptor 3, inherits nothing else beyond its
/// standard streams, ignores no signal, is killed by the kernel when the calling thread ends, and leaves no core file behind.
///
/// Program, arguments and environment of `command` itself are not used. `socket` must stay open until the command was
/// spawned. The caller must be the thread that spawns.
pub(crate) fn prepare(command: &mut Command, image: Image, socket: &OwnedFd) {
    let socket = socket.as_raw_fd();
    let parent = rustix::process::getpid();
    // SAFETY: the closure runs between fork and exec. `enter` and `execute` make only system calls that are async-signal-safe
    // on values made before the fork; they do not allocate (errors carry a raw number) and touch no lock.
    unsafe {
        command.pre_exec(move || {
            enter(socket, parent)?;
            Err(image.execute())
        });
    }
}

fn enter(socket: RawFd, parent: Pid) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have died before the line above took effect; then nobody would ever send the signal.
    if getppid() != Some(parent) {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    reset_signals();
    setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )?;
    install_socket(socket)?;
    close_range_on_exec(PLUGIN_DESCRIPTOR + 1)
}

/// Gives every signal its default effect. `exec` does so for signals with a handler, but an ignored one stays ignored: a
/// daemon that a shell started in the background ignores SIGINT, and its plugins could not be asked to end.
fn reset_signals() {
    const LAST_STANDARD_SIGNAL: libc::c_int = 31;
    for signal in 1..=LAST_STANDARD_SIGNAL {
        // SAFETY: the default effect runs no code of ours. SIGKILL and SIGSTOP refuse, and cannot be ignored anyway.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Makes the descriptor 3 a copy of `socket` that survives `exec`.
fn install_socket(socket: RawFd) -> io::Result<()> {
    if socket == PLUGIN_DESCRIPTOR {
        // SAFETY: `fcntl` on a descriptor number has no memory effects. `dup2` onto itself would leave close-on-exec set.
        return check(unsafe { libc::fcntl(socket, libc::F_SETFD, 0) });
    }
    // SAFETY: `dup2` only changes this process's descriptor table. Nothing in the child uses what was at 3: the spawner keeps
    // that number occupied by a file of its own, so it is not the pipe through which `Command` reports a failed `exec`.
    check(unsafe { libc::dup2(socket, PLUGIN_DESCRIPTOR) })
}

/// Marks every descriptor from `first` on to be closed by `exec`, in case that some library forgot to.
///
/// They stay open until then, because one of them reports a failed `exec` to the parent.
fn close_range_on_exec(first: RawFd) -> io::Result<()> {
    // SAFETY: with CLOSE_RANGE_CLOEXEC the call sets a flag on descriptors and touches no memory.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    match check(result as libc::c_int) {
        // Before Linux 5.11 the flag is unknown. Every descriptor of ours and of the standard library is close-on-exec from
        // its creation, so this call is the second of two belts.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL)) => Ok(()),
        result => result,
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// How many process groups one guardian can watch.
pub(crate) const GUARDIAN_CAPACITY: usize = 1024;

/// One message to the guardian: a process group's number to watch it, the negated number to forget it. Small enough for the
/// kernel to write and read it in one piece.
pub(crate) type GuardianMessage = [u8; 4];

/// Forks the guardian: a process that reads [`GuardianMessage`]s from `pipe` and, when the pipe ends because every process
/// that could write to it is gone, kills the groups that it was not told to forget. Returns its process id.
///
/// # Errors
///
/// When the system has no room for another process.
pub(crate) fn fork_guardian(pipe: &OwnedFd) -> io::Result<Pid> {
    let pipe = pipe.as_raw_fd();
    // SAFETY: the child runs `guard`, which makes only async-signal-safe system calls on its own stack, and never returns into
    // code that could find a lock held by a thread that does not exist here.
    let pid = unsafe { libc::fork() };
    match pid {
        0 => guard(pipe),
        _ => Pid::from_raw(pid)
            .filter(|_| pid > 0)
            .ok_or_else(io::Error::last_os_error),
    }
}

/// The guardian's life.
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
        // SAFETY: `kill` has no memory effects. The group cannot be a stranger's: its number is only reused when no process
        // of it is left, and the daemon says "forget" before it lets that happen.
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

/// Has this process ignore a signal that nothing here uses, for a test of what children inherit.
#[cfg(test)]
pub(crate) fn ignore_user_signal() {
    // SAFETY: ignoring a signal runs no code.
    unsafe { libc::signal(libc::SIGUSR2, libc::SIG_IGN) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guardian_notes_and_forgets_groups() {
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
