//! Waiting for a point in time that may never come.

use std::future::pending;

use tokio::time::{Instant, sleep_until};

/// Resolves at `deadline`, or never.
pub(crate) async fn until(deadline: Option<impl Into<Instant>>) {
    match deadline {
        Some(instant) => sleep_until(instant.into()).await,
        None => pending().await,
    }
}
