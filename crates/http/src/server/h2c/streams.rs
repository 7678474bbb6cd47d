//! [`Streams`]: the requests of one HTTP/2 connection, and how far their responses have come.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use slab::Slab;
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::super::Limits;
use super::super::clock::PROGRESS;
use super::super::state::{Shared, State, StreamPlace};

/// The streams of one connection, with the tasks in which hyper runs their handlers.
pub(super) struct Streams {
    shared: Arc<Shared>,
    max_extra: usize,
    table: Mutex<Table>,
    /// Apart from the table, because futures that are dropped leave the table.
    tasks: Mutex<JoinSet<()>>,
    runtime: Handle,
    /// `true` if the peer takes no byte of the connection.
    is_blocked: AtomicBool,
}

#[derive(Default)]
struct Table {
    streams: Slab<Entry>,
    /// The stream that was opened last, until its task is spawned.
    newest: Option<usize>,
    has_opened: bool,
}

struct Entry {
    phase: Phase,
    task: Option<AbortHandle>,
    /// The place of a stream that is not the only one of its connection.
    _place: Option<StreamPlace>,
}

/// No call panics while it holds a lock, and the protected data are valid at any time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The event that a stream waits for.
#[derive(Clone, Copy)]
enum Phase {
    Handler,
    /// The peer, since this time: more of the request's body.
    Body {
        since: Instant,
    },
    /// The peer, which took `taken` bytes of the response since this time.
    Reader {
        since: Instant,
        taken: u64,
    },
    /// The end of its task, because the peer took too little.
    Reset,
}

/// One stream, in its table until its handler has ended and its response has left.
pub(super) struct Stream {
    streams: Arc<Streams>,
    key: usize,
}

impl Streams {
    /// Of the streams beside the first one, all connections may have `max_extra`.
    pub(super) fn new(shared: Arc<Shared>, max_extra: usize) -> Arc<Self> {
        Arc::new(Self {
            shared,
            max_extra,
            table: Mutex::default(),
            tasks: Mutex::default(),
            runtime: Handle::current(),
            is_blocked: AtomicBool::new(false),
        })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }

    /// Enters a stream whose task is spawned next; `None` if there are too many.
    pub(super) fn open(self: &Arc<Self>) -> Option<Stream> {
        let mut table = self.table();
        table.has_opened = true;
        let place = match table.streams.is_empty() {
            true => None,
            false => Some(self.shared.take_stream_place(self.max_extra)?),
        };
        let key = table.streams.insert(Entry {
            phase: Phase::Handler,
            task: None,
            _place: place,
        });
        table.newest = Some(key);
        let streams = Arc::clone(self);
        Some(Stream { streams, key })
    }

    /// Spawns the task of the stream that was opened last.
    pub(super) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let task = lock(&self.tasks).spawn(future);
        let mut table = self.table();
        let newest = table.newest.take();
        if let Some(entry) = newest.and_then(|key| table.streams.get_mut(key)) {
            entry.task = Some(task);
        }
    }

    /// Reaps the tasks that ended. The task of the connection is woken when another one ends.
    pub(super) fn reap(&self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(ended)) = lock(&self.tasks).poll_join_next(cx) {
            if ended.is_err_and(|error| error.is_panic()) {
                tracing::error!("task of an HTTP/2 stream panicked");
            }
        }
    }

    /// Aborts all tasks.
    pub(super) fn abort(&self) {
        lock(&self.tasks).abort_all();
    }

    pub(super) fn has_opened(&self) -> bool {
        self.table().has_opened
    }

    pub(super) fn set_blocked(&self, is_blocked: bool) {
        self.is_blocked.store(is_blocked, Ordering::Relaxed);
    }

    /// Returns the state of the connection: that of its busiest stream.
    pub(super) fn state(&self) -> State {
        let table = self.table();
        let states = table.streams.iter().map(|(_, entry)| match entry.phase {
            Phase::Handler => State::Handler,
            Phase::Body { .. } => State::Body,
            Phase::Reader { .. } => State::Reader,
            Phase::Reset => State::Idle,
        });
        states.max().unwrap_or(State::Idle)
    }

    /// Returns when the first of the streams is stalled, unless its peer makes progress.
    pub(super) fn next_stall(&self, limits: &Limits) -> Option<Instant> {
        let table = self.table();
        let entries = table.streams.iter();
        entries
            .filter_map(|(_, entry)| entry.phase.deadline(limits))
            .min()
    }

    /// Resets the streams that are stalled; `false` if that is not enough, because the peer takes no
    /// byte at all, or because the bytes that it does not take are the end of a response, which hyper has handed over.
    pub(super) fn reset_stalled(&self, limits: &Limits) -> bool {
        let now = Instant::now();
        let mut stalled = Vec::new();
        for (_, entry) in &mut self.table().streams {
            if entry.phase.deadline(limits).is_none_or(|at| at > now) {
                continue;
            }
            let task = entry.task.take().filter(|task| !task.is_finished());
            let Some(task) = task.filter(|_| !self.is_blocked.load(Ordering::Relaxed)) else {
                return false;
            };
            entry.phase = Phase::Reset;
            stalled.push(task);
        }
        stalled.iter().for_each(AbortHandle::abort);
        true
    }
}

impl Phase {
    fn deadline(self, limits: &Limits) -> Option<Instant> {
        match self {
            Self::Body { since } => since.checked_add(limits.body_timeout),
            Self::Reader { since, .. } => since.checked_add(limits.write_timeout),
            Self::Handler | Self::Reset => None,
        }
    }
}

impl Stream {
    /// Spawns a task that ends by itself, unless the stream was reset.
    pub(super) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let table = self.streams.table();
        let entry = table.streams.get(self.key);
        if entry.is_some_and(|entry| !matches!(entry.phase, Phase::Reset)) {
            drop(table);
            self.streams.runtime.spawn(future);
        }
    }

    fn set(&self, change: impl FnOnce(&mut Phase)) {
        if let Some(entry) = self.streams.table().streams.get_mut(self.key) {
            change(&mut entry.phase);
        }
    }

    /// Records that the peer waits for the handler, or for more of its response.
    pub(super) fn wait_for_handler(&self) {
        self.set(|phase| {
            if !matches!(phase, Phase::Reset) {
                *phase = Phase::Handler;
            }
        });
    }

    /// Records that the handler waits for more of the request's body.
    pub(super) fn wait_for_body(&self) {
        self.set(|phase| {
            if matches!(phase, Phase::Handler) {
                let since = Instant::now();
                *phase = Phase::Body { since };
            }
        });
    }

    /// Records that the response waits for the peer, which has taken so many bytes more.
    pub(super) fn wait_for_reader(&self, bytes: usize) {
        self.set(|phase| match phase {
            Phase::Reader { taken, .. } if *taken + (bytes as u64) < PROGRESS => {
                *taken += bytes as u64;
            }
            Phase::Handler | Phase::Body { .. } | Phase::Reader { .. } => {
                let since = Instant::now();
                *phase = Phase::Reader { since, taken: 0 };
            }
            Phase::Reset => {}
        });
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let entry = self.streams.table().streams.try_remove(self.key);
        drop(entry);
    }
}
