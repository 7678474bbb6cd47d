//! The state of a connection, as its own task sets it and the accept loop reads it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::Admission;

/// The state of a connection: the event that it waits for.
///
/// The order is the order of eviction ([`Precedence`]): a connection in an earlier state is closed before one in a
/// later state, and one in [`Handler`](Self::Handler) or after it never.
///
/// ```text
/// Silent --byte--> Head --complete--> Handler <--> Body
///   \--"PRI"--> Preface               Handler --response--> Reader --taken--> Idle --byte--> Head
///                                     Handler --101--> Upgraded
///                                     Handler --response before the end of the body--> Closing
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum State {
    /// The peer may still be sending a request that was responded to.
    Closing,
    /// No byte has arrived.
    Silent,
    /// A part of HTTP/2's preface has arrived.
    Preface,
    /// The last response was taken, and no byte of another request has arrived.
    Idle,
    /// A part of a request's head has arrived.
    Head,
    /// The handler waits for the request's body.
    Body,
    /// The peer does not take the response.
    Reader,
    /// The service works on a request.
    Handler,
    /// The byte stream was switched to another protocol.
    Upgraded,
    /// The accept loop gave the connection's place to another.
    Evicted,
}

impl State {
    const ALL: [Self; 10] = [
        Self::Closing,
        Self::Silent,
        Self::Preface,
        Self::Idle,
        Self::Head,
        Self::Body,
        Self::Reader,
        Self::Handler,
        Self::Upgraded,
        Self::Evicted,
    ];

    /// Returns `true` if the server waits for the peer, and not the peer for the server.
    pub(super) fn waits_for_peer(self) -> bool {
        self < Self::Handler
    }
}

/// A connection that is in its state for less than this waits for its own task as much as for its peer: its request may have
/// arrived and not been read.
const FRESH_MS: u64 = 1000;

/// The order of eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Precedence {
    /// Comes first: otherwise, of two clients that connect to a full server at the same moment, one would close the other, which
    /// is silent and thus before every idle connection.
    is_fresh: bool,
    pub(super) state: State,
    since: u64,
}

/// The state of one connection and its place among the others.
pub(super) struct Shared {
    state: AtomicU8,
    /// The time when the state was entered, in milliseconds since [`Places::epoch`].
    since: AtomicU64,
    places: Arc<Places>,
}

/// The connections of one server.
pub(super) struct Places {
    epoch: Instant,
    /// Connections that count against the limits, by admission.
    regular: AtomicUsize,
    reserved: AtomicUsize,
    /// Streams of HTTP/2 connections, but for the first of each.
    #[cfg(feature = "h2c")]
    streams: AtomicUsize,
    /// `true` if a connection waits for a place.
    is_wanted: AtomicBool,
    /// Notified if a connection waits for a place and one became free, or a connection became evictable.
    freed: Notify,
}

impl Places {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            epoch: Instant::now(),
            regular: AtomicUsize::new(0),
            reserved: AtomicUsize::new(0),
            #[cfg(feature = "h2c")]
            streams: AtomicUsize::new(0),
            is_wanted: AtomicBool::new(false),
            freed: Notify::new(),
        })
    }

    /// Milliseconds since the epoch.
    fn elapsed(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.epoch).as_millis();
        u64::try_from(elapsed).unwrap_or(u64::MAX)
    }

    fn counter(&self, admission: Admission) -> &AtomicUsize {
        match admission {
            Admission::Regular => &self.regular,
            Admission::Reserved => &self.reserved,
        }
    }

    pub(super) fn taken(&self, admission: Admission) -> usize {
        self.counter(admission).load(Ordering::SeqCst)
    }

    /// Sets whether a connection waits for a place. To be set before the attempt to find one, so
    /// that a place that becomes free in between notifies.
    pub(super) fn set_wanted(&self, is_wanted: bool) {
        self.is_wanted.store(is_wanted, Ordering::SeqCst);
    }

    /// Resolves when another attempt to find a place may succeed. Cancel safe.
    pub(super) async fn freed(&self) {
        self.freed.notified().await;
    }

    fn notify(&self) {
        if self.is_wanted.load(Ordering::SeqCst) {
            self.freed.notify_one();
        }
    }
}

/// One connection's place; free again when dropped.
pub(super) struct Place {
    places: Arc<Places>,
    admission: Admission,
}

impl Place {
    pub(super) fn take(places: &Arc<Places>, admission: Admission) -> Self {
        places.counter(admission).fetch_add(1, Ordering::SeqCst);
        let places = Arc::clone(places);
        Self { places, admission }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places
            .counter(self.admission)
            .fetch_sub(1, Ordering::SeqCst);
        self.places.notify();
    }
}

/// The place of one HTTP/2 stream; free again when dropped.
#[cfg(feature = "h2c")]
pub(super) struct StreamPlace(Arc<Places>);

#[cfg(feature = "h2c")]
impl Drop for StreamPlace {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    pub(super) fn new(places: &Arc<Places>) -> Arc<Self> {
        let shared = Self {
            state: AtomicU8::new(State::Silent as u8),
            since: AtomicU64::new(0),
            places: Arc::clone(places),
        };
        shared.mark(Instant::now());
        Arc::new(shared)
    }

    fn mark(&self, now: Instant) {
        let elapsed = self.places.elapsed(now);
        self.since.store(elapsed, Ordering::Relaxed);
    }

    /// Enters a state; `false` if the connection was evicted and has to end.
    pub(super) fn enter(&self, state: State, now: Option<Instant>) -> bool {
        if let Some(now) = now {
            self.mark(now);
        }
        let before = self.state.swap(state as u8, Ordering::SeqCst);
        if state.waits_for_peer() {
            self.places.notify();
        }
        before != State::Evicted as u8
    }

    pub(super) fn state(&self) -> State {
        // Only `enter` and `evict` write it.
        State::ALL[usize::from(self.state.load(Ordering::SeqCst))]
    }

    /// Returns the key of the order of eviction: the least comes first.
    pub(super) fn precedence(&self, now: Instant) -> Option<Precedence> {
        let state = self.state();
        let since = self.since.load(Ordering::Relaxed);
        let age = self.places.elapsed(now).saturating_sub(since);
        state.waits_for_peer().then_some(Precedence {
            is_fresh: age < FRESH_MS,
            state,
            since,
        })
    }

    /// Takes a place for an HTTP/2 stream, of which there are `max`.
    #[cfg(feature = "h2c")]
    pub(super) fn take_stream_place(&self, max: usize) -> Option<StreamPlace> {
        let (places, ordering) = (&self.places, Ordering::SeqCst);
        let taken = places.streams.fetch_update(ordering, ordering, |taken| {
            (taken < max).then_some(taken + 1)
        });
        taken.ok().map(|_| StreamPlace(Arc::clone(places)))
    }

    /// Evicts the connection if it is still in this state.
    pub(super) fn evict(&self, state: State) -> bool {
        let evicted = State::Evicted as u8;
        self.state
            .compare_exchange(state as u8, evicted, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }
}
