//! The lock, and what users of a session do under it.

use std::{
    fmt,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::Instant,
};

use super::{
    clock::now,
    connection::Connection,
    sync::Mutex,
    wakers::{StreamWakers, Task, WaitSet, WakeList, store},
    write_side::WriteSide,
};
use crate::{
    config::{Config, Role},
    core::{Core, Event, Read},
    error::{OpenError, SessionError, StreamError},
    streams::Key,
};

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
            write_side: WriteSide::new(io),
            driver: None,
            is_driver_woken: false,
            is_coalescing: false,
            has_yielded: false,
            writes_to_half: 0,
            has_flushed_half: false,
            postponed: 0,
            armed_until: None,
            streams: Vec::new(),
            flushing: Vec::new(),
            accepting: WaitSet::default(),
            opening: WaitSet::default(),
            ending: WaitSet::default(),
            pinging: WaitSet::default(),
            wakes: WakeList::default(),
        };
        Arc::new(Self {
            state: Mutex::new(state),
            sessions: AtomicUsize::new(1),
        })
    }

    /// Runs `action` under the lock, then wakes the tasks that can continue. The lock is never
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

    /// Runs `poll` under the lock for the task of `cx`, within the cooperative budget of tokio: if that is spent, the
    /// operation is pending and the task is woken, and an operation that is ready spends a unit. Otherwise a task whose
    /// operations are always ready would never let others run.
    pub(crate) fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut State, &mut Task) -> Poll<T>,
    ) -> Poll<T> {
        let unit = ready!(tokio::task::coop::poll_proceed(cx));
        let mut task = Task::new(cx.waker().clone());
        let result = self.with(|state| poll(state, &mut task));
        if result.is_ready() {
            unit.made_progress();
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
    pub(super) write_side: WriteSide,
    /// What the connection and other tasks wake, from the driver's first poll on.
    pub(super) driver: Option<Waker>,
    /// The driver was woken to flush and has not come yet.
    pub(super) is_driver_woken: bool,
    /// Several tasks were woken together. They will write soon, so their frames are coalesced into
    /// one write.
    pub(super) is_coalescing: bool,
    /// The driver has let other tasks run once before it flushes.
    pub(super) has_yielded: bool,
    /// How many writes complete the first half of those that follow a read; 0 after it.
    pub(super) writes_to_half: usize,
    /// The first half was flushed since the last poll of the driver.
    pub(super) has_flushed_half: bool,
    /// For how many of the driver's polls deadlines were postponed.
    pub(super) postponed: u8,
    /// Until when the driver's timer sleeps.
    pub(super) armed_until: Option<Instant>,
    /// The waiting tasks of each stream, by slot.
    pub(super) streams: Vec<StreamWakers>,
    /// The streams whose writers wait until the connection has taken what they wrote.
    flushing: Vec<Key>,
    pub(super) accepting: WaitSet,
    pub(super) opening: WaitSet,
    pub(super) ending: WaitSet,
    pub(super) pinging: WaitSet,
    /// The wakers to be woken or dropped when the lock is released.
    pub(super) wakes: WakeList,
}

impl State {
    fn wait_to_read(&mut self, key: Key, task: &mut Task) {
        let slot = wakers(&mut self.streams, key);
        store(&mut slot.reader, task, &mut self.wakes);
    }

    pub(super) fn wait_to_write(&mut self, key: Key, task: &mut Task) {
        let slot = wakers(&mut self.streams, key);
        store(&mut slot.writer, task, &mut self.wakes);
    }

    /// Turns the core's events into wake-ups. Returns how many tasks have work now, counting each
    /// offered stream as one, because each will get a task.
    pub(super) fn collect_events(&mut self) -> usize {
        let before = self.wakes.len();
        let mut acceptable = 0;
        while let Some(event) = self.core.next_event() {
            match event {
                Event::Readable(key) => self.wake_stream(key, |slot| slot.reader.take()),
                Event::Writable(key) => self.wake_stream(key, |slot| slot.writer.take()),
                Event::Acceptable => {
                    acceptable += 1;
                    if !self.core.accepts() {
                        self.accepting.wake_all(&mut self.wakes);
                    } else {
                        self.accepting.wake_one(&mut self.wakes);
                    }
                }
                Event::Openable => self.opening.wake_all(&mut self.wakes),
                Event::PeerDraining => self.ending.wake_all(&mut self.wakes),
                Event::Pong => self.pinging.wake_all(&mut self.wakes),
            }
        }
        (self.wakes.len() - before).max(acceptable)
    }

    /// Wakes one of the tasks of a stream, and those that wait for its end if it has ended.
    fn wake_stream(&mut self, key: Key, take: fn(&mut StreamWakers) -> Option<Waker>) {
        let slot = wakers(&mut self.streams, key);
        if let Some(closed) = &mut slot.closed
            && self.core.poll_stream_closed(key).is_ready()
        {
            closed.wake_all(&mut self.wakes);
        }
        if let Some(waker) = take(slot) {
            self.wakes.push(waker);
        }
    }

    /// Wakes the writers that wait for a flush which is complete, and returns how many.
    pub(super) fn wake_flushed(&mut self) -> usize {
        let before = self.wakes.len();
        let Self {
            core,
            streams,
            flushing,
            wakes,
            ..
        } = self;
        flushing.retain(|key| {
            if !core.is_sent(*key) {
                return true;
            }
            let slot = wakers(streams, *key);
            slot.is_flushing = false;
            if let Some(waker) = slot.writer.take() {
                wakes.push(waker);
            }
            false
        });
        self.wakes.len() - before
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

    /// Reads from a stream. A task that is about to wait for the peer first sends its queued request.
    pub(crate) fn poll_read(
        &mut self,
        key: Key,
        task: &mut Task,
        copy: impl FnMut(&[u8]) -> usize,
    ) -> Poll<Result<(), StreamError>> {
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
                self.wait_to_read(key, task);
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

    /// Waits until the connection has taken what the stream wrote. It is written at once, unless the driver is
    /// coalescing the frames of several tasks.
    pub(crate) fn poll_flush(
        &mut self,
        key: Key,
        task: &mut Task,
    ) -> Poll<Result<(), StreamError>> {
        if self.core.request_syn(key) {
            // Nothing was written yet, and a request that follows takes the SYN along.
            self.wake_driver();
        } else if !self.core.is_sent(key) && !wakers(&mut self.streams, key).is_flushing {
            // A second poll does not hurry the driver, which may be letting other tasks write first.
            self.flush_or_wake_driver();
        }
        self.poll_sent(key, task)
    }

    /// Ends the write side and waits until the connection has taken the FIN.
    pub(crate) fn poll_shutdown(
        &mut self,
        key: Key,
        task: &mut Task,
    ) -> Poll<Result<(), StreamError>> {
        match self.finish(key) {
            Ok(()) => self.poll_sent(key, task),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn poll_sent(&mut self, key: Key, task: &mut Task) -> Poll<Result<(), StreamError>> {
        let sent = self.core.poll_sent(key);
        if sent.is_pending() {
            self.wait_to_write(key, task);
            let slot = wakers(&mut self.streams, key);
            if !std::mem::replace(&mut slot.is_flushing, true) {
                self.flushing.push(key);
                self.wake_driver();
            }
        }
        sent
    }

    /// Ends the write side. The FIN leaves with the next write of the driver.
    pub(crate) fn finish(&mut self, key: Key) -> Result<(), StreamError> {
        if self.core.finish(key)? {
            self.core.mark_sent(key);
            self.wake_driver();
        }
        Ok(())
    }

    pub(crate) fn reset(&mut self, key: Key) {
        self.core.reset(key);
        self.wake_driver();
    }

    /// The handle of the stream is gone.
    pub(crate) fn handle_dropped(&mut self, key: Key) {
        let slot = std::mem::take(wakers(&mut self.streams, key));
        for waker in [slot.reader, slot.writer].into_iter().flatten() {
            self.wakes.discard(waker);
        }
        if slot.is_flushing {
            self.flushing.retain(|flushing| *flushing != key);
        }
        self.with_clock(|core, now| core.handle_dropped(key, now));
        if self.core.has_no_entries() && self.streams.capacity() > MAX_KEPT_SLOTS {
            self.streams = Vec::new();
        }
        if self.core.wants_to_send() || self.core.is_over() {
            self.wake_driver();
        }
    }

    /// Opens a stream without waiting.
    pub(crate) fn try_open(&mut self) -> Result<Key, OpenError> {
        match self.poll_open() {
            Poll::Ready(opened) => opened,
            Poll::Pending => Err(self.core.too_many_unacknowledged()),
        }
    }

    /// Opens a stream; pending while too many are unacknowledged.
    pub(crate) fn poll_open(&mut self) -> Poll<Result<Key, OpenError>> {
        let opened = self.core.open();
        if opened.is_pending() {
            // SYNs that are not sent would never be acknowledged.
            self.flush_or_wake_driver();
        }
        opened
    }

    /// Accepts a stream; pending if there is none.
    pub(crate) fn poll_accept(&mut self) -> Poll<Result<Option<Key>, SessionError>> {
        let accepted = self.with_clock(|core, now| core.accept(now));
        if accepted.is_ready() && self.core.wants_to_send() {
            self.wake_driver();
        }
        accepted
    }

    /// Runs a command that asks for the time if it sets a deadline, which may be earlier than the driver's timer.
    fn with_clock<T>(
        &mut self,
        command: impl FnOnce(&mut Core, &mut dyn FnMut() -> Instant) -> T,
    ) -> T {
        let mut is_deadline_set = false;
        let result = command(&mut self.core, &mut || {
            is_deadline_set = true;
            now()
        });
        if is_deadline_set {
            self.wake_for_deadline();
        }
        result
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

    /// Sends a ping, or joins the outstanding one. Returns its value.
    pub(crate) fn ping(&mut self) -> Result<u32, SessionError> {
        let value = self.core.ping(now())?;
        self.wake_driver();
        self.wake_for_deadline();
        Ok(value)
    }

    /// The driver is gone: nothing will move any more.
    pub(super) fn abandon(&mut self) {
        self.core.abandon();
        self.write_side.close();
        self.drop_driver_waker();
    }

    /// Drops the driver's waker: there is no more work for the driver.
    pub(super) fn drop_driver_waker(&mut self) {
        if let Some(driver) = self.driver.take() {
            self.wakes.discard(driver);
        }
    }
}

/// The waiting tasks of a stream.
pub(super) fn wakers(streams: &mut Vec<StreamWakers>, key: Key) -> &mut StreamWakers {
    let slot = key.slot as usize;
    if slot >= streams.len() {
        streams.resize_with(slot + 1, StreamWakers::default);
    }
    &mut streams[slot]
}
