//! The clock of everything that runs on one thread.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Returns the CPU time of the current thread, in user and kernel mode.
///
/// Both ends of a connection on one thread never wait, so this is the time that they take on an idle machine, and other
/// processes on a busy one do not change it.
pub(crate) fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // The clock starts at 0 and only grows.
    Duration::new(
        time.tv_sec.unsigned_abs(),
        time.tv_nsec.unsigned_abs() as u32,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleep_takes_no_thread_time() {
        let before = thread_time();
        #[expect(
            clippy::disallowed_methods,
            reason = "the test measures the time of a sleeping thread"
        )]
        std::thread::sleep(Duration::from_millis(200));
        assert!(thread_time() - before < Duration::from_millis(150));
    }

    #[test]
    fn work_takes_thread_time() {
        let before = thread_time();
        let started = std::time::Instant::now();
        while thread_time() == before {
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "the clock did not advance"
            );
        }
    }
}
