//! The processor time of idle processes. The tests run in a release build as well, so this crate is small.
#![forbid(unsafe_code)]

use std::thread;
use std::time::Duration;

use keyway_test_support::process::{descendants, stat};

/// Ticks of 10 ms that an idle process may use in [`PERIOD`]. One that spins uses 300.
const TICKS: u64 = 15;

/// The time in which processor time is measured.
const PERIOD: Duration = Duration::from_secs(3);

/// The descendants of this process that are not idle, with the processor time that they used.
///
/// # Panics
///
/// Panics if there are fewer than `n_expected` descendants, or one of them ends meanwhile.
pub fn busy_descendants(n_expected: usize) -> Vec<String> {
    let own = std::process::id().cast_signed();
    let now = |pid: i32| stat(pid).expect("it runs");
    let before: Vec<_> = descendants(own).into_iter().map(now).collect();
    assert!(before.len() >= n_expected, "{before:?}");
    #[expect(clippy::disallowed_methods, reason = "the test measures this time")]
    thread::sleep(PERIOD);
    before
        .into_iter()
        .map(|before| (now(before.pid).cpu_ticks - before.cpu_ticks, before.name))
        .filter(|(ticks, _)| *ticks > TICKS)
        .map(|(ticks, name)| format!("{name} used {ticks} ticks"))
        .collect()
}
