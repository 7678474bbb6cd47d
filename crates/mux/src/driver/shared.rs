//! The lock, and what users of a session do under it.

use std::{
    fmt,
    io::{self, IoSlice},
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Instant,
};

use super::{
    batch::DirectWrite,
    clock::now,
    socket::Socket,
    sync::Mutex,
    wakers::{StreamWakers, Ticket, WaitSet, WakeList, store},
};
use crate::{
    config::{Config, Role},
    core::{Core, Event, FLUSH_AT, Outcome, Read},
    error::{AcceptError, OpenError, StreamError},
    frame::MAX_PAYLOAD,
    io::Connection,
    streams::Key,
};

/// From this size on a write goes to the socket from the caller's buffer. Below that, the copy costs less than a
/// system call for each.
const DIRECT_WRITE: usize = MAX_PAYLOAD;

/// How many slots for the waiting tasks of streams are kept for later streams.
const MAX_KEPT_SLOTS: usize = 1024;

/// A session as all its handles share it.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// How many [`Session`](crate::Session) handles there are.
    pub(crate) sessions: AtomicUsize,
}

impl Shared {
    pub(crate) fn new(io: Box<dyn Connection>, role: Role, config: Config) -> Arc<Self> {
        static SESSIONS: AtomicU64 = AtomicU64::new(1);
        let session = SESSIONS.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(session, ?role, "a session begins");
        let now = now();
        let state = State {
            core: Core::new(session, role, config, now),
            socket: Socket::new(io),
            driver: None,
            is_driver_woken: false,
            is_coalescing: false,
            has_yielded: false,
            postponed: 0,
            armed_until: None,
            streams: Vec::new(),
            accepting: WaitSet::default(),
            opening: WaitSet::default(),
            ending: WaitSet::default(),
            wakes: WakeList::default(),
        };
        Arc::new(Self {
            state: Mutex::new(state),
            sessions: AtomicUsize::new(1),
        })
    }

    /// Runs `action` under the lock, then wakes the tasks that it made able to go on. The lock is never
    /// held across an await, and no waker is woken or dropped under it.
    pub(crate) fn with<T>(&self, action: impl FnOnce(&mut State) -> T) -> T {
        // A panic under the lock is a bug of ours or of the connection; the state is still
        // whole enough to end the session.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = action(&mut state);
        state.collect_events();
        if !state.wakes.is_empty() {
            let wakes = std::mem::take(&mut state.wakes);
            drop(state);
            wakes.wake();
        }
        result
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// What the lock protects.
pub(crate) struct State {
    pub(crate) core: Core,
    pub(super) socket: Socket,
    /// The driver's waker, once it was polled. It is what the socket wakes.
    pub(super) driver: Option<Waker>,
    /// The driver was woken to flush and has not come yet.
    pub(super) is_driver_woken: bool,
    /// Several tasks were woken in the driver's last turn: they will write soon, so their frames
    /// are collected for one flush.
    pub(super) is_coalescing: bool,
    /// The driver has let the others run once before it flushes.
    pub(super) has_yielded: bool,
    /// For how many of the driver's turns deadlines were postponed.
    pub(super) postponed: u8,
    /// Until when the driver's timer sleeps.
    pub(super) armed_until: Option<Instant>,
    /// The waiting tasks of each stream, by slot.
    streams: Vec<StreamWakers>,
    accepting: WaitSet,
    opening: WaitSet,
    ending: WaitSet,
    /// The wakers to be woken or dropped when the lock is released.
    pub(super) wakes: WakeList,
}

impl State {
    fn wait_to_read(&mut self, key: Key, cx: &Context<'_>) {
        let slot = wakers(&mut self.streams, key);
        store(&mut slot.reader, cx, &mut self.wakes);
    }

    fn wait_to_write(&mut self, key: Key, cx: &Context<'_>) {
        let slot = wakers(&mut self.streams, key);
        store(&mut slot.writer, cx, &mut self.wakes);
    }

    /// Turns the core's events into wake-ups. Returns how many tasks have work now, counting each
    /// offered stream as one, because each will get a task.
    pub(super) fn collect_events(&mut self) -> usize {
        let before = self.wakes.len();
        let mut offers = 0;
        while let Some(event) = self.core.next_event() {
            let waker = match event {
                Event::Readable(key) => self
                    .streams
                    .get_mut(key.slot as usize)
                    .and_then(|slot| slot.reader.take()),
                Event::Writable(key) => self
                    .streams
                    .get_mut(key.slot as usize)
                    .and_then(|slot| slot.writer.take()),
                Event::Acceptable => {
                    offers += 1;
                    if self.core.outcome().is_some() || !self.core.accepts() {
                        self.accepting.wake_all(&mut self.wakes);
                    } else {
                        self.accepting.wake_one(&mut self.wakes);
                    }
                    None
                }
                Event::Openable => {
                    self.opening.wake_all(&mut self.wakes);
                    None
                }
                Event::PeerDraining => {
                    self.ending.wake_all(&mut self.wakes);
                    None
                }
            };
            if let Some(waker) = waker {
                self.wakes.push(waker);
            }
        }
        (self.wakes.len() - before).max(offers)
    }

    /// Wakes the driver to flush after the tasks that are ready now.
    pub(super) fn wake_driver(&mut self) {
        if self.is_driver_woken {
            return;
        }
        if let Some(driver) = &self.driver {
            self.is_driver_woken = true;
            self.wakes.push(driver.clone());
        }
    }

    /// Sends what is queued: at once if it is data and this task is the only busy one, else with what
    /// the others have. Nobody waits for a control frame as for an answer, and one that leaves in this
    /// scheduler's turn all the same may save a system call.
    pub(crate) fn flush_or_wake_driver(&mut self) {
        if !self.core.wants_to_send() {
            return;
        }
        let is_worth_it = self.core.out.has_data() && !self.is_coalescing;
        if !is_worth_it && self.core.out.len() < FLUSH_AT {
            self.wake_driver();
        } else {
            self.flush();
        }
        if self.core.is_over() || self.core.has_grantable_writers() {
            self.wake_driver();
        }
    }

    /// Reads from a stream. A task that is about to wait for the peer sends first what it asked.
    pub(crate) fn poll_read(
        &mut self,
        key: Key,
        cx: &Context<'_>,
        copy: impl FnMut(&[u8]) -> usize,
    ) -> Poll<Result<(), StreamError>> {
        if self.core.begins_late(key, now) {
            self.stand_in();
        }
        match self.core.read(key, copy) {
            Read::Bytes => {
                if self.core.wants_to_send() {
                    self.wake_driver();
                }
                if self.core.zeroize_deadline().is_some() {
                    self.wake_for_deadline();
                }
                Poll::Ready(Ok(()))
            }
            Read::End => Poll::Ready(Ok(())),
            Read::Failed(error) => Poll::Ready(Err(error)),
            Read::Pending => {
                self.wait_to_read(key, cx);
                if self.core.request_syn(key) {
                    // HTTP clients read before they write: the request may take SYN along.
                    self.wake_driver();
                } else {
                    self.flush_or_wake_driver();
                }
                Poll::Pending
            }
        }
    }

    /// Writes to a stream.
    pub(crate) fn poll_write(
        &mut self,
        key: Key,
        cx: &Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<Result<usize, StreamError>> {
        let first = buffers.iter().find(|buffer| !buffer.is_empty());
        let Some(first) = first else {
            return match self.core.write_error(key) {
                Some(error) => Poll::Ready(Err(error)),
                None => Poll::Ready(Ok(0)),
            };
        };
        let mut written = if first.len() >= DIRECT_WRITE && self.can_write_directly() {
            self.write_directly(key, first)
        } else {
            self.core.write(key, buffers)
        };
        if self.core.has_used_go() {
            self.wake_driver();
        }
        match written {
            Poll::Ready(_) if self.core.out.len() >= FLUSH_AT => self.flush(),
            Poll::Ready(_) => {
                if self.core.wants_to_send() {
                    self.wake_driver();
                }
            }
            Poll::Pending => {
                self.wait_to_write(key, cx);
                self.flush_or_wake_driver();
            }
        }
        if let Some(error) = self.core.write_failure() {
            written = Poll::Ready(Err(StreamError::Session(error)));
        }
        written
    }

    fn write_directly(&mut self, key: Key, payload: &[u8]) -> Poll<Result<usize, StreamError>> {
        let Some(driver) = &self.driver else {
            return Poll::Pending;
        };
        let direct = DirectWrite { key, payload };
        let mut cx = Context::from_waker(driver);
        let written = self.socket.write_directly(&mut cx, &mut self.core, &direct);
        match std::task::ready!(written)? {
            Ok(count) => {
                self.after_write();
                Poll::Ready(Ok(count))
            }
            Err(error) => {
                self.write_failed(error);
                Poll::Pending
            }
        }
    }

    /// Sends what is queued for the stream, SYN included.
    pub(crate) fn poll_flush(&mut self, key: Key, is_urgent: bool) -> Result<(), StreamError> {
        if is_urgent {
            self.core.send_syn(key);
            self.flush_or_wake_driver();
        } else {
            self.core.request_syn(key);
            if self.core.wants_to_send() {
                self.wake_driver();
            }
        }
        match self.core.write_error(key) {
            // Flushing after shutdown is fine: everything was handed over before.
            None | Some(StreamError::WriteClosed) => Ok(()),
            Some(error) => Err(error),
        }
    }

    /// Ends the write side. The FIN leaves with whatever else leaves at the end of this turn.
    pub(crate) fn finish(&mut self, key: Key) -> Result<(), StreamError> {
        let result = self.core.finish(key);
        self.wake_driver();
        result
    }

    pub(crate) fn reset(&mut self, key: Key) {
        self.core.reset(key);
        self.wake_driver();
    }

    /// The handle of the stream is gone.
    pub(crate) fn handle_dropped(&mut self, key: Key) {
        if let Some(wakers) = self.streams.get_mut(key.slot as usize) {
            let StreamWakers { reader, writer } = std::mem::take(wakers);
            for waker in [reader, writer].into_iter().flatten() {
                self.wakes.discard(waker);
            }
        }
        self.core.handle_dropped(key, now);
        if self.core.has_no_entries() && self.streams.capacity() > MAX_KEPT_SLOTS {
            self.streams = Vec::new();
        }
        if self.core.wants_to_send() || self.core.is_over() {
            self.wake_driver();
        }
        self.wake_for_deadline();
    }

    /// Opens a stream, or waits for a place among the unacknowledged ones.
    pub(crate) fn poll_open(
        &mut self,
        cx: &Context<'_>,
        ticket: &mut Ticket,
    ) -> Poll<Result<Key, OpenError>> {
        match self.core.open() {
            Poll::Pending => {
                self.opening.wait(ticket, cx, &mut self.wakes);
                // SYNs that nobody has sent yet would never be acknowledged.
                self.flush_or_wake_driver();
                Poll::Pending
            }
            ready @ Poll::Ready(_) => {
                self.opening.leave(ticket, &mut self.wakes);
                ready
            }
        }
    }

    /// Stops waiting for [`poll_open`](Self::poll_open). All waiters are woken together, so there
    /// is no wake-up to pass on.
    pub(crate) fn leave_opening(&mut self, ticket: &mut Ticket) {
        self.opening.leave(ticket, &mut self.wakes);
    }

    /// Accepts a stream, or waits for one.
    pub(crate) fn poll_accept(
        &mut self,
        cx: &Context<'_>,
        ticket: &mut Ticket,
    ) -> Poll<Result<Key, AcceptError>> {
        match self.core.accept(now) {
            Poll::Pending => {
                self.accepting.wait(ticket, cx, &mut self.wakes);
                Poll::Pending
            }
            ready @ Poll::Ready(_) => {
                self.accepting.leave(ticket, &mut self.wakes);
                if self.core.wants_to_send() {
                    self.wake_driver();
                }
                self.wake_for_deadline();
                ready
            }
        }
    }

    /// Stops waiting for [`poll_accept`](Self::poll_accept); a wake-up that was not used goes to
    /// the next one.
    pub(crate) fn leave_accepting(&mut self, ticket: &mut Ticket) {
        if self.accepting.leave(ticket, &mut self.wakes) && self.core.has_unaccepted() {
            self.accepting.wake_one(&mut self.wakes);
        }
        if self.accepting.is_empty() {
            self.core.nobody_accepts();
        }
    }

    /// A new deadline may be earlier than the driver's timer.
    pub(super) fn wake_for_deadline(&mut self) {
        if let Some(deadline) = self.core.deadline()
            && self.armed_until.is_none_or(|armed| deadline < armed)
        {
            self.armed_until = Some(deadline);
            self.wake_driver();
        }
    }

    pub(crate) fn go_away(&mut self) {
        self.core.go_away();
        self.wake_driver();
    }

    /// Starts a clean end. With no time-out the open streams decide how long it takes.
    pub(crate) fn close(&mut self, is_bounded: bool) {
        let timeout = is_bounded.then(|| self.core.drain_timeout());
        self.core.close(now(), timeout);
        if !is_bounded {
            self.core.drop_unaccepted();
        }
        self.wake_driver();
        self.wake_for_deadline();
    }

    /// Waits for the end of the session, with everything written and the connection closed.
    pub(crate) fn poll_closed(&mut self, cx: &Context<'_>, ticket: &mut Ticket) -> Poll<Outcome> {
        if self.core.has_ended()
            && let Some(outcome) = self.core.outcome()
        {
            return Poll::Ready(outcome.clone());
        }
        self.ending.wait(ticket, cx, &mut self.wakes);
        Poll::Pending
    }

    /// Waits until the peer sent GoAway(0) or the session is over.
    pub(crate) fn poll_peer_draining(&mut self, cx: &Context<'_>, ticket: &mut Ticket) -> Poll<()> {
        if self.core.is_peer_draining() {
            return Poll::Ready(());
        }
        self.ending.wait(ticket, cx, &mut self.wakes);
        Poll::Pending
    }

    pub(crate) fn leave_ending(&mut self, ticket: &mut Ticket) {
        self.ending.leave(ticket, &mut self.wakes);
    }

    /// The driver is gone: nothing will move any more.
    pub(super) fn abandon(&mut self) {
        self.core.abandon();
        self.socket.close();
        self.drop_driver_waker();
    }

    /// Drops the driver's waker: there is no more work for the driver.
    pub(super) fn drop_driver_waker(&mut self) {
        if let Some(driver) = self.driver.take() {
            self.wakes.discard(driver);
        }
    }

    /// The connection failed in a write. What the peer sent before may still be read, so the
    /// driver reads on to the end.
    pub(super) fn write_failed(&mut self, error: io::Error) {
        self.socket.fail();
        self.core.write_failed(now(), error);
        self.wake_driver();
    }
}

/// The waiting tasks of a stream.
fn wakers(streams: &mut Vec<StreamWakers>, key: Key) -> &mut StreamWakers {
    let slot = key.slot as usize;
    if slot >= streams.len() {
        streams.resize_with(slot + 1, StreamWakers::default);
    }
    &mut streams[slot]
}
