//! The clock of the driver.

use std::time::Instant;

/// Returns the time of the runtime, which tests may control.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
