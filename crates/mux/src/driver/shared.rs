//! The lock of a session, and the operations of its users under it.

use std::{
    fmt,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Instant,
};

use smallvec::SmallVec;
use tokio::{sync::Notify, task::coop::poll_proceed};

use super::{
    clock::now,
    coalescing::Coalescing,
    sync::Mutex,
    waiting::{DriverWaker, StreamWaits, Waits, WakeUp},
    write_side::{Connection, WriteSide},
};
use crate::{
    config::{Config, Role},
    core::{Core, Event, Read},
    error::{Direction, OpenError, SessionError, StreamError},
    streams::Key,
};

/// The number of slots for waiting tasks of streams that are kept for later streams.
const MAX_KEPT_SLOTS: usize = 1024;

/// The state that all handles of a session share.
pub(crate) struct Shared {
    state: Mutex<State>,
    pub(crate) waits: Waits,
    pub(super) driver: Arc<DriverWaker>,
}

impl Shared {
    pub(crate) fn new(io: Box<dyn Connection>, role: Role, config: Config) -> Arc<Self> {
        static SESSIONS: AtomicU64 = AtomicU64::new(1);
        let session = SESSIONS.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(session, ?role, "session started");
        let driver = Arc::<DriverWaker>::default();
        let state = State {
            core: Core::new(session, role, config, now()),
            write_side: WriteSide::new(io, Arc::clone(&driver)),
            is_driver_woken: true,
            coalescing: Coalescing::default(),
            postponed: 0,
            armed_until: None,
            streams: Vec::new(),
            flushing: Vec::new(),
            wake_ups: SmallVec::new(),
        };
        Arc::new(Self {
            state: Mutex::new(state),
            waits: Waits::default(),
            driver,
        })
    }

    /// Runs `action` under the lock, then wakes the tasks that can continue. The lock is never
    /// held across an await, and no waker is woken or dropped under it.
    pub(crate) fn with<T>(&self, action: impl FnOnce(&mut State) -> T) -> T {
        // A panic under the lock is a bug of this crate or of the connection; the state is still
        // consistent enough to end the session.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = action(&mut state);
        state.collect_events();
        state.wake_driver_for_work();
        if !state.wake_ups.is_empty() {
            let wake_ups = std::mem::take(&mut state.wake_ups);
            drop(state);
            for wake_up in wake_ups {
                match wake_up {
                    WakeUp::Driver => self.driver.task.wake(),
                    WakeUp::Task(waker) => waker.wake(),
                    WakeUp::Session(notify) => notify(&self.waits).notify_waiters(),
                    WakeUp::Stream(notify) => notify.notify_waiters(),
                }
            }
        }
        result
    }

    /// Runs `poll` under the lock for a task that reads or writes a stream, and stores its waker if that is pending.
    ///
    /// It respects the cooperative budget of tokio: if that is spent, the operation is pending and the task is woken, and
    /// an operation that is ready spends a unit. Otherwise a task whose operations are always ready would starve others.
    pub(crate) fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        key: Key,
        direction: Direction,
        poll: impl FnOnce(&mut State) -> Poll<T>,
    ) -> Poll<T> {
        let unit = ready!(poll_proceed(cx));
        // Cloned before the lock is taken, and the one that it replaces is dropped after it was released: both may run
        // foreign code. That costs less than to poll again.
        let mut waker = Some(cx.waker().clone());
        let result = self.with(|state| {
            let result = poll(state);
            if result.is_pending() {
                let waits = stream_waits(&mut state.streams, key);
                std::mem::swap(&mut waits.tasks[direction as usize], &mut waker);
            }
            result
        });
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

/// The state that the lock protects.
pub(crate) struct State {
    pub(crate) core: Core,
    pub(super) write_side: WriteSide,
    /// The driver was woken and not polled since, or it was dropped.
    pub(super) is_driver_woken: bool,
    pub(super) coalescing: Coalescing,
    /// The number of polls of the driver that have postponed deadlines.
    pub(super) postponed: u8,
    /// The deadline of the driver's timer.
    pub(super) armed_until: Option<Instant>,
    /// The waiting tasks of each stream, by slot.
    streams: Vec<StreamWaits>,
    /// The streams whose writers wait until the connection has taken all written bytes.
    pub(super) flushing: Vec<Key>,
    /// The tasks to be woken when the lock is released.
    wake_ups: SmallVec<[WakeUp; 4]>,
}

impl State {
    /// Turns the core's events into wake-ups. Returns the number of tasks that have work now. Each
    /// stream to be accepted counts as one, because each will get a task.
    pub(super) fn collect_events(&mut self) -> usize {
        let (mut tasks, mut acceptable) = (0, 0);
        while let Some(event) = self.core.next_event() {
            match event {
                Event::Readable(key) => tasks += self.wake_stream(key, Direction::Read),
                Event::Writable(key) => tasks += self.wake_stream(key, Direction::Write),
                Event::Acceptable => acceptable += 1,
                Event::Openable => self.wake_all(|waits| &waits.open),
                Event::PeerDraining => {
                    self.wake_all(|waits| &waits.end);
                    // All streams may have ended, and the connection is to be closed.
                    self.wake_driver();
                }
                Event::Pong => self.wake_all(|waits| &waits.pong),
            }
        }
        if acceptable > 0 {
            self.wake_all(|waits| &waits.accept);
        }
        tasks + acceptable
    }

    fn wake_all(&mut self, notify: fn(&Waits) -> &Arc<Notify>) {
        self.wake_ups.push(WakeUp::Session(notify));
    }

    /// Wakes the task that reads or writes a stream, and those that wait for its end if it has ended. Returns the number
    /// of tasks that read or write.
    pub(super) fn wake_stream(&mut self, key: Key, direction: Direction) -> usize {
        let waits = stream_waits(&mut self.streams, key);
        if let Some(closed) = &waits.closed
            && self.core.poll_stream_closed(key).is_ready()
        {
            self.wake_ups.push(WakeUp::Stream(Arc::clone(closed)));
        }
        let Some(task) = waits.tasks[direction as usize].take() else {
            return 0;
        };
        self.wake_ups.push(WakeUp::Task(task));
        1
    }

    /// Wakes the driver if there is work for it.
    fn wake_driver_for_work(&mut self) {
        if self.is_driver_woken {
            return;
        }
        let can_send = self.core.wants_to_send() && !self.write_side.is_blocked();
        if can_send || self.core.is_round_spent() || self.core.needs_poll() {
            self.wake_driver();
        }
    }

    /// Wakes the driver if a deadline is earlier than that of its timer.
    pub(super) fn wake_driver_for_deadline(&mut self) {
        if self.is_driver_woken {
            return;
        }
        let deadline = self.core.deadline();
        if deadline.is_some_and(|at| self.armed_until.is_none_or(|armed| at < armed)) {
            self.wake_driver();
        }
    }

    /// Wakes the driver, after the tasks that are ready now.
    fn wake_driver(&mut self) {
        if !std::mem::replace(&mut self.is_driver_woken, true) {
            self.wake_ups.push(WakeUp::Driver);
        }
    }

    /// Reads from a stream. Before it waits for the peer, the queued request is sent.
    pub(crate) fn poll_read(
        &mut self,
        key: Key,
        copy: impl FnMut(&[u8]) -> usize,
    ) -> Poll<Result<(), StreamError>> {
        match self.core.read(key, copy) {
            Read::Bytes => {
                if self.core.zeroize_deadline().is_some() {
                    self.wake_driver_for_deadline();
                }
                Poll::Ready(Ok(()))
            }
            Read::End => Poll::Ready(Ok(())),
            Read::Failed(error) => Poll::Ready(Err(error)),
            Read::Pending => {
                // HTTP clients read before they write: the request may carry SYN.
                if !self.core.request_syn(key) {
                    self.flush_early();
                }
                Poll::Pending
            }
        }
    }

    /// Waits until the connection has taken all written bytes. They are sent at once, unless the frames of several tasks
    /// are being coalesced.
    pub(crate) fn poll_flush(&mut self, key: Key) -> Poll<Result<(), StreamError>> {
        // If nothing was written yet, a request that follows carries the SYN. A second poll does not flush again: the
        // driver may be letting other tasks write first.
        let is_syn_due = self.core.request_syn(key);
        if !is_syn_due && !self.core.is_sent(key) && !self.flushing.contains(&key) {
            self.flush_early();
        }
        self.poll_sent(key)
    }

    /// Ends the write side and waits until the connection has taken the FIN.
    pub(crate) fn poll_shutdown(&mut self, key: Key) -> Poll<Result<(), StreamError>> {
        match self.finish(key) {
            Ok(()) => self.poll_sent(key),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn poll_sent(&mut self, key: Key) -> Poll<Result<(), StreamError>> {
        let sent = self.core.poll_sent(key);
        if sent.is_pending() && !self.flushing.contains(&key) {
            self.flushing.push(key);
        }
        sent
    }

    /// Ends the write side. FIN is sent with the next write of the driver.
    pub(crate) fn finish(&mut self, key: Key) -> Result<(), StreamError> {
        if self.core.finish(key)? {
            self.core.mark_sent(key);
        }
        Ok(())
    }

    /// The handle of the stream was dropped. Returns its waiting tasks, to be dropped when the lock is released.
    pub(crate) fn handle_dropped(&mut self, key: Key) -> StreamWaits {
        let waits = std::mem::take(stream_waits(&mut self.streams, key));
        self.flushing.retain(|flushing| *flushing != key);
        self.core.handle_dropped(key, now);
        self.wake_driver_for_deadline();
        if self.core.has_no_entries() && self.streams.capacity() > MAX_KEPT_SLOTS {
            self.streams = Vec::new();
        }
        waits
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
            // A SYN that is not sent is never acknowledged.
            self.flush_early();
        }
        opened
    }

    /// Accepts a stream; pending if there is none.
    pub(crate) fn poll_accept(&mut self) -> Poll<Result<Option<Key>, SessionError>> {
        let accepted = self.core.accept(now);
        if accepted.is_ready() {
            self.wake_driver_for_deadline();
        }
        accepted
    }

    /// Starts a clean end. Without a bound, the open streams may take any time.
    pub(crate) fn close(&mut self, is_bounded: bool) {
        let timeout = is_bounded.then(|| self.core.drain_timeout());
        self.core.close(now(), timeout);
        if !is_bounded {
            self.core.drop_unaccepted();
        }
        self.wake_driver_for_deadline();
    }

    /// Sends a ping, or joins the outstanding one. Returns its value.
    pub(crate) fn ping(&mut self) -> Result<u32, SessionError> {
        let value = self.core.ping(now())?;
        self.wake_driver_for_deadline();
        Ok(value)
    }

    /// The driver was dropped: nothing is sent or received any more.
    pub(super) fn abandon(&mut self) {
        self.core.abandon();
        self.write_side.close();
        self.is_driver_woken = true;
    }

    /// Returns the notification of the end of a stream.
    pub(crate) fn closed(&mut self, key: Key) -> Arc<Notify> {
        let closed = &mut stream_waits(&mut self.streams, key).closed;
        Arc::clone(closed.get_or_insert_default())
    }
}

/// The waiting tasks of a stream.
fn stream_waits(streams: &mut Vec<StreamWaits>, key: Key) -> &mut StreamWaits {
    let slot = key.slot as usize;
    if slot >= streams.len() {
        streams.resize_with(slot + 1, StreamWaits::default);
    }
    &mut streams[slot]
}
