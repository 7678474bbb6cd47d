//! Waiting with a bound.

use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

/// How often is looked.
const POLL: Duration = Duration::from_millis(5);

/// Waits until `what` gives something.
///
/// # Panics
///
/// After `limit`, naming what was waited for.
pub fn wait_until<T>(name: &str, limit: Duration, mut what: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = what() {
            return found;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} for {name}");
        thread::sleep(POLL);
    }
}

/// Waits for a process to end.
///
/// # Panics
///
/// After `limit`; the process is killed before.
pub fn wait_for_end(name: &str, child: &mut Child, limit: Duration) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a child of ours can be waited for") {
            return status;
        }
        if start.elapsed() > limit {
            // It may end in this very moment, which is too late as well.
            let _ = child.kill();
            let _ = child.wait();
            panic!("{name} did not end within {limit:?}");
        }
        thread::sleep(POLL);
    }
}
