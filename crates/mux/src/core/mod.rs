//! The yamux protocol as a state machine without I/O.

mod accept;
mod buffers;
mod commands;
mod ending;
#[cfg(any(test, fuzzing))]
pub(crate) mod harness;
mod inbound;
mod keep_alive;
mod outbound;
mod scheduler;
mod timing;
mod writing;

#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

pub(crate) use self::{
    buffers::MAX_BLOCK,
    commands::Read,
    ending::Outcome,
    outbound::SendQueue,
    scheduler::ROUND_FRAMES,
    writing::{FLUSH_AT, OVERSHOOT},
};
use self::{ending::Phase, keep_alive::Pings, scheduler::Scheduler, timing::Deadlines};
use crate::{
    config::{Config, INITIAL_WINDOW, Role},
    frame::{Decoder, HEADER_LEN},
    stats::Stats,
    streams::{Handshake, Key, Store},
};

/// The time that an acknowledgement waits for another frame to be sent with. Far less than the timeout of any peer, and
/// far more than a quick handler takes.
const ACK_DELAY: Duration = Duration::from_millis(5);

/// The number of acknowledgements that may wait. A Go peer stops opening at 256 unacknowledged streams. A system call for
/// several of them costs each stream little, and their handlers may keep the thread busy for long.
const MAX_HANDSHAKES_DUE: usize = 8;

/// A change that tasks may be waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The stream has unread bytes, or the peer's side of it has ended, or it has failed.
    Readable(Key),
    /// The stream has a window or a grant, or has failed.
    Writable(Key),
    /// A stream waits to be accepted, or accepting has ended.
    Acceptable,
    /// A stream may be opened, or opening has ended.
    Openable,
    /// The peer sent GoAway(0).
    PeerDraining,
    /// A ping was acknowledged, or the session has ended.
    Pong,
}

/// One end of a yamux session, without a socket, a clock, a task or a waker.
///
/// # Contract
///
/// *Inputs.* [`receive`](Self::receive) takes the peer's bytes in any chunks, in blocks that
/// [`take_block`](Self::take_block) gave, and [`end_of_input`](Self::end_of_input) their end.
/// [`handle_timeout`](Self::handle_timeout) sets the time, which never goes backwards. The commands of users are
/// `open`, `accept`, `read`, `write`, `finish`, `reset`, `handle_dropped`, `go_away` and `close`. No command follows
/// `handle_dropped` for a key.
///
/// *Outputs.* After inputs, the caller takes [`next_event`](Self::next_event) until `None` and wakes the tasks that
/// wait. It calls [`stage`](Self::stage), writes the bytes of [`out`](Self::out) to the connection, and reports the
/// bytes that were taken with `out.consume`, `progressed` and `out.flushed`, or [`stalled`](Self::stalled) if none were.
/// It calls [`grant_writers`](Self::grant_writers) after bytes were sent. It reports when each of its polls begins and
/// ends (`begin_poll`, `end_poll`), and polls again if `end_poll`, `is_round_spent` or `needs_poll` return
/// `true`. It calls `handle_timeout` when [`deadline`](Self::deadline) has passed. If
/// [`is_finishing`](Self::is_finishing) and everything was sent, it calls `sent_everything`, shuts the connection down
/// and calls [`end`](Self::end).
///
/// *Data frames of large writes* may bypass the queue: `begin_data` returns their headers, and the caller writes
/// headers and payloads behind everything in `out`, or queues the rest of a frame and refunds the others.
///
/// # Invariants
///
/// - `unacknowledged` is the number of live streams whose handshake says so.
/// - `accept_queue` holds the live streams whose handshake says so, and after the end those that held a place.
/// - `buffered` is the number of unread bytes of all entries.
/// - A live stream is not over; an entry that is neither live nor held by a handle is removed.
/// - `grown` is the number of bytes by which the receive windows of the live streams exceed their first size.
/// - Each stream's receive window accounts for every byte (see `RecvWindow`).
#[derive(Debug)]
pub(crate) struct Core {
    /// The number of the session in logs.
    session: u64,
    role: Role,
    config: Config,
    store: Store,
    /// The id of the next stream to open; 64 bits, so that it can pass the last one.
    next_id: u64,
    /// The number of own streams that the peer has not acknowledged.
    unacknowledged: usize,
    /// Streams of the peer that are not accepted yet.
    accept_queue: VecDeque<Key>,
    decoder: Decoder,
    /// The stream of the current data frame, and whether the frame carries FIN, which takes effect once its payload is
    /// complete. Payload and FIN are dropped if there is none.
    body: Option<(Key, bool)>,
    /// Frames in the order in which they are sent.
    pub(crate) out: SendQueue,
    /// Responses to the peer that belong to no stream and wait until `out` has space.
    replies: VecDeque<[u8; HEADER_LEN]>,
    /// Streams that owe the peer their first frame: a SYN or an ACK.
    handshakes_due: VecDeque<Key>,
    /// One of them is a SYN, and its stream has a reader waiting.
    has_syn_due: bool,
    scheduler: Scheduler,
    events: VecDeque<Event>,
    phase: Phase,
    deadlines: Deadlines,
    /// The latest time of an input.
    now: Instant,
    /// GoAway(0) was sent: the peer's new streams are refused.
    local_go_away: bool,
    /// GoAway(0) was received: the peer refuses new streams.
    remote_go_away: bool,
    pings: Pings,
    /// The peer has closed its side of the connection, and bytes are still to be sent.
    is_input_closed: bool,
    /// Dropped streams on which the peer cannot send any more, in the order in which they are reset.
    lingering: VecDeque<(Instant, Key)>,
    /// Unread bytes of all streams.
    buffered: usize,
    buffers: buffers::Buffers,
    /// The growth of all receive windows together.
    grown: usize,
    stats: Stats,
}

impl Core {
    pub(crate) fn new(session: u64, role: Role, config: Config, now: Instant) -> Self {
        let mut core = Self {
            session,
            role,
            config,
            store: Store::default(),
            next_id: u64::from(role.first_id()),
            unacknowledged: 0,
            accept_queue: VecDeque::new(),
            decoder: Decoder::default(),
            body: None,
            out: SendQueue::default(),
            replies: VecDeque::new(),
            handshakes_due: VecDeque::new(),
            has_syn_due: false,
            scheduler: Scheduler::default(),
            events: VecDeque::new(),
            phase: Phase::Running,
            deadlines: Deadlines::default(),
            now,
            local_go_away: false,
            remote_go_away: false,
            pings: Pings::default(),
            is_input_closed: false,
            lingering: VecDeque::new(),
            buffered: 0,
            buffers: buffers::Buffers::default(),
            grown: 0,
            stats: Stats::default(),
        };
        core.arm_keep_alive(now);
        core
    }

    /// The number of the session in logs, unique in the process.
    pub(crate) const fn session(&self) -> u64 {
        self.session
    }

    /// Returns `true` if there is neither a stream nor a handle of one.
    pub(crate) fn has_no_entries(&self) -> bool {
        self.store.is_empty()
    }

    pub(crate) fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The counters and the current values.
    pub(crate) fn stats(&self) -> Stats {
        Stats {
            open_streams: self.store.live(),
            unread_bytes: self.buffered,
            rtt: self.pings.round_trip(),
            ..self.stats
        }
    }

    fn log_stream(&self, stream: u32, event: &'static str) {
        tracing::debug!(session = self.session, stream, "{event}");
    }

    /// Wakes the tasks that wait for the stream in either direction.
    fn notify(&mut self, key: Key) {
        self.events.push_back(Event::Readable(key));
        self.events.push_back(Event::Writable(key));
    }

    /// Uncounts an own stream that is acknowledged or has ended.
    fn acknowledged(&mut self) {
        debug_assert!(
            self.unacknowledged > 0,
            "an acknowledgement was counted twice"
        );
        if self.unacknowledged == self.config.max_unacknowledged {
            self.events.push_back(Event::Openable);
        }
        self.unacknowledged = self.unacknowledged.saturating_sub(1);
    }

    /// Removes the wire id of a stream that has ended, and its entry if the handle was dropped.
    fn remove_id(&mut self, key: Key) {
        let Some(entry) = self.store.get_mut(key) else {
            return;
        };
        let handshake = std::mem::replace(&mut entry.handshake, Handshake::Done);
        let is_released = entry.is_handle_dropped;
        let growth = entry.recv_window.size().saturating_sub(INITIAL_WINDOW);
        let was_live = self.store.remove_id(key);
        if was_live {
            self.grown -= growth as usize;
        }
        if was_live && handshake.is_unacknowledged() {
            self.acknowledged();
        }
        if is_released {
            self.free_entry(key);
        } else if was_live && handshake == Handshake::Unaccepted && !self.is_over() {
            self.remove_unaccepted(key);
        }
        self.check_drained();
    }

    /// Removes an entry and its unread bytes.
    fn free_entry(&mut self, key: Key) {
        self.drop_unread(key);
        self.store.remove(key);
    }

    /// Checks the invariants of the type's documentation. Each stream costs time, so only debug builds check, where
    /// streams end and while there are few.
    pub(super) fn check_invariants(&self) {
        if cfg!(debug_assertions) && self.store.live() <= 16 {
            #[cfg(any(test, fuzzing))]
            harness::work::uncounted(|| self.assert_invariants());
            #[cfg(not(any(test, fuzzing)))]
            self.assert_invariants();
        }
    }

    fn assert_invariants(&self) {
        let (mut live, mut unread, mut growth) = (0, 0, 0);
        let (mut unacknowledged, mut unaccepted) = (0, 0);
        for key in self.store.keys() {
            let Some(entry) = self.store.get(key) else {
                continue;
            };
            unread += entry.recv.len();
            if self.store.find(key.id) == Some(key) {
                let id = key.id;
                assert!(!entry.state.is_over(), "stream {id} is live and over");
                live += 1;
                growth += (entry.recv_window.size() - INITIAL_WINDOW) as usize;
                unacknowledged += usize::from(entry.handshake.is_unacknowledged());
                unaccepted += usize::from(entry.handshake == Handshake::Unaccepted);
            } else {
                let is_held = !entry.is_handle_dropped;
                assert!(is_held, "stream {} is neither live nor held", key.id);
            }
        }
        assert_eq!(self.store.live(), live);
        assert_eq!(self.buffered, unread);
        assert_eq!(self.grown, growth);
        assert_eq!(self.unacknowledged, unacknowledged);
        // After the end the waiting streams are not live.
        assert!(self.is_over() || self.accept_queue.len() == unaccepted);
    }
}
