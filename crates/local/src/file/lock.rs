//! Advisory locks with a bound.

use std::fs::{File, TryLockError};
use std::io;
use std::time::{Duration, Instant};

use crate::backoff::Pauses;

/// The first pause before a lock is tried again that another process holds: short, because a write takes milliseconds.
const FIRST_PAUSE: Duration = Duration::from_millis(1);

/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Locks `file`, which may be a directory, until it is closed. Blocks, at most for `bound`; with a bound of zero it is tried
/// once.
///
/// # Errors
///
/// Returns an error of kind [`TimedOut`](io::ErrorKind::TimedOut) if another process holds a lock for that long, or the error
/// of the operating system.
pub fn lock_within(file: &File, bound: Duration) -> io::Result<()> {
    let started = Instant::now();
    for pause in Pauses::between(FIRST_PAUSE, LONGEST_PAUSE) {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) => {}
        }
        let waited = started.elapsed();
        if waited >= bound {
            break;
        }
        // The kernel offers no wait for a file lock that has a bound and needs neither a thread nor a signal.
        #[expect(
            clippy::disallowed_methods,
            reason = "called where blocking is allowed; the kernel has no lock with a timeout"
        )]
        std::thread::sleep(pause.min(bound - waited));
    }
    Err(io::Error::new(
        io::ErrorKind::TimedOut,
        "another process holds a lock on it",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_held_is_an_error_after_the_bound() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let open = || File::open(directory.path()).expect("the directory");
        let first = open();
        lock_within(&first, Duration::ZERO).expect("locked");
        for bound in [Duration::ZERO, Duration::from_millis(20)] {
            let error = lock_within(&open(), bound).expect_err("held");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        }
        drop(first);
        lock_within(&open(), Duration::from_secs(30)).expect("locked");
    }
}
