//! Counters of a plugin's requests.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use keyway_proto::keyway::v1::FailureKind;

use crate::lines::PeerLines;

/// Counters of one plugin, and its last failed request. They outlive its process.
#[derive(Debug, Default)]
pub(crate) struct CallRecord {
    n_requests: AtomicU64,
    n_failures: AtomicU64,
    last_failure: Mutex<Option<FailedRequest>>,
    /// Log lines about failed requests.
    pub(crate) failure_lines: PeerLines,
    /// Log lines about responses with faults.
    pub(crate) fault_lines: PeerLines,
}

/// A request that failed.
#[derive(Debug, Clone)]
pub(crate) struct FailedRequest {
    pub(crate) time: SystemTime,
    pub(crate) kind: FailureKind,
    /// The failure in words for the user.
    pub(crate) message: String,
}

impl CallRecord {
    /// Counts a request.
    pub(crate) fn request(&self) {
        self.n_requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a failure and keeps it as the last one.
    pub(crate) fn failure(&self, kind: FailureKind, message: &str) {
        self.n_failures.fetch_add(1, Ordering::Relaxed);
        let failure = FailedRequest {
            time: SystemTime::now(),
            kind,
            message: message.to_owned(),
        };
        *self.lock() = Some(failure);
    }

    /// Returns the number of requests so far.
    pub(crate) fn n_requests(&self) -> u64 {
        self.n_requests.load(Ordering::Relaxed)
    }

    /// Returns the number of failed requests so far.
    pub(crate) fn n_failures(&self) -> u64 {
        self.n_failures.load(Ordering::Relaxed)
    }

    /// Returns the last failed request.
    pub(crate) fn last_failure(&self) -> Option<FailedRequest> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<FailedRequest>> {
        self.last_failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
