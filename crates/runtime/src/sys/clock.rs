//! The clock that advances while the machine sleeps.

use std::time::Duration;

/// Returns the time since the machine started, with the time during which it slept.
pub(crate) fn boot_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // The function of the C library, and not the bare system call, so that a preloaded clock is honoured.
    // SAFETY: `time` is a valid place for the result, and the call keeps no pointer to it.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    assert_eq!(result, 0, "CLOCK_BOOTTIME exists since Linux 2.6.39");
    // A running clock is never negative.
    Duration::new(
        time.tv_sec.try_into().unwrap_or_default(),
        time.tv_nsec.try_into().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_clock_advances_and_agrees_with_the_kernel() {
        let text = std::fs::read_to_string("/proc/uptime").expect("/proc/uptime");
        let uptime: f64 = text
            .split(' ')
            .next()
            .and_then(|seconds| seconds.parse().ok())
            .expect("a number of seconds");
        let now = boot_time();
        // `/proc/uptime` is cut to hundredths of a second.
        assert!(now.as_secs_f64() >= uptime - 0.01, "{now:?} {uptime}");
        assert!(boot_time() >= now);
    }
}
