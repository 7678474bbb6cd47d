//! System calls without a safe interface: the only unsafe code of this crate.
//!
//! `std` changes some of the state that a program is started with before `main` runs, and the signal mask in `exec`. What
//! the command of `keyway run` gets is the state before that.

#![allow(unsafe_code, reason = "each block states why it is sound")]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, getpid, kill_current_process_group};

/// Bits 0 to 2: these descriptors were closed; bit 3: SIGPIPE was ignored.
static AT_START: AtomicU32 = AtomicU32::new(0);

const PIPE_IGNORED: u32 = 1 << 3;

/// Runs before `main`, and so before `std` opens `/dev/null` at closed standard descriptors and ignores SIGPIPE.
#[used]
// SAFETY: an entry of this section is a function that the C library calls once before `main`.
#[unsafe(link_section = ".init_array")]
static RECORD: extern "C" fn() = record;

extern "C" fn record() {
    let mut state = 0;
    for descriptor in 0..3 {
        // SAFETY: reads the flags of a descriptor, and fails if it is closed.
        if unsafe { libc::fcntl(descriptor, libc::F_GETFD) } == -1 {
            state |= 1 << descriptor;
        }
    }
    if is_ignored(libc::SIGPIPE) {
        state |= PIPE_IGNORED;
    }
    AT_START.store(state, Ordering::Relaxed);
}

/// Returns `true` if the standard descriptor 0, 1 or 2 was closed when the program was started.
pub(crate) fn was_closed(descriptor: i32) -> bool {
    AT_START.load(Ordering::Relaxed) & (1 << descriptor) != 0
}

/// Returns `true` if SIGPIPE was ignored when the program was started.
pub(crate) fn ignored_sigpipe_at_start() -> bool {
    AT_START.load(Ordering::Relaxed) & PIPE_IGNORED != 0
}

/// A set of signals in the kernel's format: signal 1 is the lowest bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SignalSet(u64);

impl SignalSet {
    /// No signal.
    pub(crate) const EMPTY: Self = Self(0);

    /// Returns the signals 1 to 64 for which the condition holds.
    pub(crate) fn of(condition: impl Fn(i32) -> bool) -> Self {
        let bits = (1..=64).filter(|number| condition(*number));
        Self(bits.map(|number| 1 << (number - 1)).sum())
    }
}

/// A signal that was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReceivedSignal {
    pub(crate) number: i32,
    /// `true` if the kernel sent it, such as for a key of the terminal.
    pub(crate) is_from_kernel: bool,
}

/// Replaces the set of blocked signals of this process, which must have one thread, and returns the former one.
pub(crate) fn set_blocked(set: SignalSet) -> io::Result<SignalSet> {
    let mut former = 0_u64;
    // SAFETY: both pointers are to sets of the size that is given. The call of the C library would leave out the two
    // signals that it uses for threads, which this process has none of.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const set.0,
            &raw mut former,
            size_of::<u64>(),
        )
    };
    match result {
        0 => Ok(SignalSet(former)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Waits for a signal of the set, all of which must be blocked. A SIGPIPE that a write of this process caused is dropped.
pub(crate) fn wait_for(set: SignalSet) -> io::Result<ReceivedSignal> {
    loop {
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        // SAFETY: the pointers are to a set of the size that is given and to a struct that the kernel fills; without a time
        // limit the third one is null.
        let number = unsafe {
            libc::syscall(
                libc::SYS_rt_sigtimedwait,
                &raw const set.0,
                info.as_mut_ptr(),
                ptr::null::<libc::timespec>(),
                size_of::<u64>(),
            )
        };
        if number < 0 {
            let error = io::Error::last_os_error();
            match error.kind() {
                io::ErrorKind::Interrupted => continue,
                _ => return Err(error),
            }
        }
        // SAFETY: zeros are valid for this struct of integers and pointers, and the kernel has written over them.
        let info = unsafe { info.assume_init() };
        // SAFETY: every signal that a process sends has this field; for others it is an integer as well.
        let sender = unsafe { info.si_pid() };
        let number = i32::try_from(number).map_err(io::Error::other)?;
        if number == libc::SIGPIPE && sender == getpid().as_raw_nonzero().get() {
            continue;
        }
        return Ok(ReceivedSignal {
            number,
            is_from_kernel: info.si_code == libc::SI_KERNEL,
        });
    }
}

/// Returns the process group of a child; 0 if it was made outside of this pid namespace, which `rustix` excludes.
pub(crate) fn process_group(pid: Pid) -> i32 {
    // SAFETY: the call has no requirement.
    unsafe { libc::getpgid(pid.as_raw_nonzero().get()) }
}

/// Returns the process group of this process, as [`process_group`] does.
pub(crate) fn own_process_group() -> i32 {
    // SAFETY: the call has no requirement.
    unsafe { libc::getpgrp() }
}

/// Returns `true` if the process group of this process is in the foreground of the terminal.
pub(crate) fn is_foreground(terminal: impl AsFd) -> bool {
    // SAFETY: the descriptor is open as long as it is borrowed.
    unsafe { libc::tcgetpgrp(terminal.as_fd().as_raw_fd()) == libc::getpgrp() }
}

/// A descriptor that is readable when a signal of a set has arrived.
pub(crate) struct SignalQueue(OwnedFd);

impl SignalQueue {
    /// Creates a queue of the signals of the set, all of which must be blocked.
    pub(crate) fn new(set: SignalSet) -> io::Result<Self> {
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        // SAFETY: the pointer is to a set of the size that is given.
        let queue = unsafe {
            libc::syscall(
                libc::SYS_signalfd4,
                -1,
                &raw const set.0,
                size_of::<u64>(),
                flags,
            )
        };
        let queue = i32::try_from(queue).map_err(io::Error::other)?;
        match queue {
            -1 => Err(io::Error::last_os_error()),
            // SAFETY: the descriptor is new.
            queue => Ok(Self(unsafe { OwnedFd::from_raw_fd(queue) })),
        }
    }

    /// Returns the next signal if one has arrived. A SIGPIPE that a write of this process caused is dropped.
    pub(crate) fn try_next(&self) -> io::Result<Option<ReceivedSignal>> {
        loop {
            let mut info = MaybeUninit::<libc::signalfd_siginfo>::zeroed();
            let len = size_of::<libc::signalfd_siginfo>();
            // SAFETY: the buffer has this length. The kernel writes the whole struct or nothing.
            let n_read = unsafe { libc::read(self.0.as_raw_fd(), info.as_mut_ptr().cast(), len) };
            if n_read < 0 {
                let error = io::Error::last_os_error();
                match error.kind() {
                    io::ErrorKind::Interrupted => continue,
                    io::ErrorKind::WouldBlock => return Ok(None),
                    _ => return Err(error),
                }
            }
            // SAFETY: zeros are valid for this struct of integers, and the kernel has written over them.
            let info = unsafe { info.assume_init() };
            let number = i32::try_from(info.ssi_signo).map_err(io::Error::other)?;
            let is_own = info.ssi_pid.cast_signed() == getpid().as_raw_nonzero().get();
            if number == libc::SIGPIPE && is_own {
                continue;
            }
            return Ok(Some(ReceivedSignal {
                number,
                is_from_kernel: info.ssi_code == libc::SI_KERNEL,
            }));
        }
    }
}

impl AsFd for SignalQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sends a signal, also one without a name, to a process.
pub(crate) fn send(pid: Pid, number: i32) -> io::Result<()> {
    // SAFETY: the call has no requirement.
    match unsafe { libc::kill(pid.as_raw_nonzero().get(), number) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Returns `true` if the signal is ignored. Those that the C library reserves for itself never are.
pub(crate) fn is_ignored(number: i32) -> bool {
    action(number).is_ok_and(|action| action.sa_sigaction == libc::SIG_IGN)
}

/// Ignores the signal.
fn ignore(number: i32) -> io::Result<()> {
    set_handler(number, libc::SIG_IGN)
}

/// Sets the default action of the signal.
pub(crate) fn reset(number: i32) -> io::Result<()> {
    set_handler(number, libc::SIG_DFL)
}

fn set_handler(number: i32, handler: libc::sighandler_t) -> io::Result<()> {
    // SAFETY: all fields are integers, an optional function or a signal set, for which zeros are valid.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = handler;
    // SAFETY: the handler is SIG_DFL or SIG_IGN.
    unsafe { set_action(number, &action) }
}

fn action(number: i32) -> io::Result<libc::sigaction> {
    let mut action = MaybeUninit::uninit();
    // SAFETY: with a null pointer the action is only read; the whole struct is written if the call returns 0.
    match unsafe { libc::sigaction(number, ptr::null(), action.as_mut_ptr()) } {
        // SAFETY: written by the call.
        0 => Ok(unsafe { action.assume_init() }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// # Safety
///
/// The handler must be SIG_DFL, SIG_IGN or one that [`action`] has returned.
unsafe fn set_action(number: i32, action: &libc::sigaction) -> io::Result<()> {
    // SAFETY: the pointer is to an action, whose handler is valid by the contract of the caller.
    match unsafe { libc::sigaction(number, action, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Writes the number of each caught signal into a socket, which must not block (the self-pipe trick).
pub(crate) fn notify(number: i32, sender: Arc<UnixStream>) -> io::Result<()> {
    let message = [u8::try_from(number).map_err(io::Error::other)?];
    // SAFETY: the handler may run at any time, so it must be async-signal-safe. It makes one system call that does not
    // block; it neither allocates nor locks.
    let registered = unsafe {
        signal_hook_registry::register_sigaction(number, move |_| {
            // A handler can neither report an error nor allocate.
            let _ = rustix::io::write(&*sender, &message);
        })
    };
    registered.map(drop)
}

/// Makes system calls fail with `EINTR` after the handler of this signal has run. An ignored signal has no handler.
pub(crate) fn disable_restart(number: i32) -> io::Result<()> {
    let mut action = action(number)?;
    action.sa_flags &= !libc::SA_RESTART;
    // SAFETY: the handler is the one that was read.
    unsafe { set_action(number, &action) }
}

/// Takes the default action of a signal that stops a process, and returns after the process was continued. The signal may
/// be caught or blocked.
///
/// Does not stop if `was_continued` returns `true`. It is called while the signal is pending, and the kernel discards a
/// pending stop signal at a SIGCONT: so a process that is continued before, during or after that call does not stay stopped.
///
/// The kernel does not stop an orphaned process group on SIGTSTP, SIGTTIN and SIGTTOU, because no process could continue
/// it.
pub(crate) fn stop_with(number: i32, was_continued: impl FnOnce() -> bool) -> io::Result<()> {
    if number == libc::SIGSTOP {
        // Cannot be blocked, and so not be pending.
        return match was_continued() {
            true => Ok(()),
            false => send(getpid(), number),
        };
    }
    take_default_action(number, || {
        send(getpid(), number)?;
        Ok(!was_continued())
    })
}

/// Stops all processes of the group of this process, as a key of the terminal does, and returns after they were continued.
pub(crate) fn stop_group() -> io::Result<()> {
    take_default_action(libc::SIGTSTP, || {
        kill_current_process_group(Signal::TSTP)?;
        Ok(true)
    })
}

/// Blocks a signal while `raise` makes it pending; then lets it take its default action, or discards it if `raise` returns
/// `false`.
fn take_default_action(number: i32, raise: impl FnOnce() -> io::Result<bool>) -> io::Result<()> {
    let signal = SignalSet::of(|other| other == number);
    let blocked = set_blocked(SignalSet(u64::MAX))?;
    set_blocked(SignalSet(blocked.0 | signal.0))?;
    let handler = action(number)?;
    reset(number)?;
    if !raise()? {
        // Discards the pending signal.
        ignore(number)?;
    }
    // The pending signal takes effect here.
    set_blocked(SignalSet(blocked.0 & !signal.0))?;
    set_blocked(blocked)?;
    // SAFETY: the handler is the one that was read.
    unsafe { set_action(number, &handler) }
}

/// Forks this process, which must have one thread. Returns the child in the parent and `None` in the child.
pub(crate) fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: there is no other thread whose locks or half-changed data the child could inherit.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        child => Ok(Pid::from_raw(child)),
    }
}

/// Ends a copy of this process, without the exit handlers of the program that it is a copy of.
pub(crate) fn end_copy() -> ! {
    // SAFETY: the call has no requirement.
    unsafe { libc::_exit(0) }
}

/// Closes all descriptors of this process except these two, which must not be standard descriptors.
pub(crate) fn close_all_but(kept: [&OwnedFd; 2]) {
    let mut kept = kept.map(|descriptor| descriptor.as_raw_fd().cast_unsigned());
    kept.sort_unstable();
    let [first, second] = kept;
    for (from, to) in [
        (0, first - 1),
        (first + 1, second - 1),
        (second + 1, u32::MAX),
    ] {
        if from <= to {
            // SAFETY: no value of this process owns one of these descriptors any more, except those that are never used.
            unsafe { libc::syscall(libc::SYS_close_range, from, to, 0) };
        }
    }
}

/// Executes a command in this process, with these signals blocked and these ignored. Returns only on failure.
pub(crate) fn exec(command: &mut Command, blocked: SignalSet, ignored: Vec<i32>) -> io::Error {
    let restore = move || {
        ignored.iter().try_for_each(|number| ignore(*number))?;
        set_blocked(blocked).map(drop)
    };
    // SAFETY: the function makes system calls alone. It runs after `std` has reset the mask and SIGPIPE.
    unsafe { command.pre_exec(restore) };
    command.exec()
}
