//! The time.

use std::time::Instant;

/// The runtime's time, which tests may control.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
