//! [`Activity`]: what a connection is doing while hyper serves it, and what it waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What a connection expects of its peer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// The first byte of a request, which need not come.
    Request,
    /// The rest of the head of a request that has begun.
    Head,
    /// That it takes a response, of which so many bytes were written.
    Reader { written: u64 },
}

/// What hyper asked for on a connection and has not told anybody. It is read and written by the
/// task of the connection alone; the atomics are there because that task may move between threads.
#[derive(Default)]
pub(super) struct Activity {
    requests: AtomicU64,
    open: AtomicU64,
    /// Whether bytes came since the last request ended. The beginning of a head that came together
    /// with the request before it is not known from other bytes of that, and so counts as nothing.
    begun: AtomicBool,
    /// Whether the peer does not take what is written at the moment.
    blocked: AtomicBool,
    written: AtomicU64,
}

/// A request that is being answered, until its response was handed to the connection whole.
pub(super) struct Busy(Arc<Activity>);

impl Busy {
    pub(super) fn start(activity: &Arc<Activity>) -> Self {
        add(&activity.requests, 1);
        add(&activity.open, 1);
        Self(Arc::clone(activity))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let open = &self.0.open;
        open.store(open.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
        self.0.begun.store(false, Ordering::Relaxed);
    }
}

impl Activity {
    /// How many requests there were.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// What the connection waits for the peer to do; `None` if it is the peer who waits.
    pub(super) fn wait(&self) -> Option<Wait> {
        if self.blocked.load(Ordering::Relaxed) {
            let written = self.written.load(Ordering::Relaxed);
            return Some(Wait::Reader { written });
        }
        if self.open.load(Ordering::Relaxed) > 0 {
            return None;
        }
        match self.begun.load(Ordering::Relaxed) {
            true => Some(Wait::Head),
            false => Some(Wait::Request),
        }
    }

    pub(super) fn bytes_came(&self) {
        self.begun.store(true, Ordering::Relaxed);
    }

    pub(super) fn bytes_left(&self, bytes: usize) {
        add(&self.written, bytes as u64);
        self.blocked.store(false, Ordering::Relaxed);
    }

    pub(super) fn peer_does_not_read(&self) {
        self.blocked.store(true, Ordering::Relaxed);
    }
}

/// There is one writer, so this need not be one step.
fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Relaxed);
}
