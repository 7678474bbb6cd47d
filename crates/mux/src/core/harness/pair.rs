//! Two cores joined by a wire that has a capacity and delivers chunks of any size, in virtual time.

use std::{
    collections::VecDeque,
    io::IoSlice,
    task::Poll,
    time::{Duration, Instant},
};

use super::output_checker::OutputChecker;
use crate::{
    config::{Config, Role},
    core::{Core, Event, Read},
    error::{OpenError, StreamError},
    streams::Key,
};

/// The number of moves of the wire before time has to pass, and the number of bytes for each further move of a narrow
/// wire. Beyond that two cores exchange frames without end.
const MAX_STEPS: usize = 200_000;
const MAX_MOVED: usize = 64 << 20;

/// The number of deadlines that may pass while the time does not change.
const MAX_DEADLINES: usize = 10;

/// Detects a core that returns a deadline at which it does nothing.
#[derive(Default)]
pub(crate) struct LivelockGuard(usize);

impl LivelockGuard {
    /// A deadline has passed, after some time or at once.
    pub(crate) fn deadline(&mut self, now: Instant, at: Instant) {
        self.0 = if at > now { 0 } else { self.0 + 1 };
        assert!(self.0 < MAX_DEADLINES, "what is due is never done");
    }
}

/// One end: a core, the bytes on their way to it, and the events that were not taken.
pub(crate) struct Side {
    pub(crate) core: Core,
    incoming: VecDeque<u8>,
    pub(crate) events: Vec<Event>,
    /// Checks everything that this end sends.
    output_checker: OutputChecker,
    /// `true` if the core was notified that nothing more will arrive.
    is_cut_off: bool,
}

impl Side {
    pub(crate) fn new(role: Role, config: Config, now: Instant) -> Self {
        Self {
            core: Core::new(0, role, config, now),
            incoming: VecDeque::new(),
            events: Vec::new(),
            output_checker: OutputChecker::of_core(role),
            is_cut_off: false,
        }
    }

    /// Returns `true` if this end has sent its last byte and shut its side of the connection down.
    fn is_shut(&self) -> bool {
        self.core.has_ended() || (self.core.is_finishing() && self.core.out.is_empty())
    }

    /// Notifies the core of the end of the connection's input.
    pub(crate) fn cut_off(&mut self) {
        if !self.is_cut_off {
            self.is_cut_off = true;
            self.core.end_of_input();
            self.collect();
        }
    }

    /// Feeds bytes as one chunk.
    pub(crate) fn feed(&mut self, now: Instant, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let mut block = self.core.take_block();
            let Some(space) = block.unique() else {
                panic!("a spare block was in use")
            };
            let count = rest.len().min(space.len());
            space[..count].copy_from_slice(&rest[..count]);
            self.core.receive(now, &mut block, count);
            self.core.give_back(block, count);
            rest = &rest[count..];
        }
        self.collect();
    }

    pub(crate) fn collect(&mut self) {
        self.core.check_invariants();
        while let Some(event) = self.core.next_event() {
            self.events.push(event);
        }
    }

    /// Returns `true` if an event happened since the last call.
    pub(crate) fn happened(&mut self, event: Event) -> bool {
        self.collect();
        let before = self.events.len();
        self.events.retain(|other| *other != event);
        self.events.len() < before
    }

    /// The streams that may write. Drops all other events.
    pub(crate) fn granted(&mut self) -> Vec<Key> {
        self.collect();
        let granted = self.events.drain(..).filter_map(|event| match event {
            Event::Writable(key) => Some(key),
            _ => None,
        });
        granted.collect()
    }

    pub(crate) fn open(&mut self) -> Key {
        match self.core.open() {
            Poll::Ready(Ok(key)) => key,
            other => panic!("opening: {other:?}"),
        }
    }

    pub(crate) fn open_error(&mut self) -> OpenError {
        match self.core.open() {
            Poll::Ready(Err(error)) => error,
            other => panic!("opening: {other:?}"),
        }
    }

    pub(crate) fn write(&mut self, key: Key, bytes: &[u8]) -> Poll<Result<usize, StreamError>> {
        let written = self.core.write(key, &[IoSlice::new(bytes)]);
        self.collect();
        let is_nothing = matches!(written, Poll::Ready(Ok(0))) && !bytes.is_empty();
        assert!(!is_nothing, "a write that takes nothing never ends");
        written
    }

    /// Writes everything, which must fit.
    pub(crate) fn write_all(&mut self, key: Key, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.write(key, bytes) {
                Poll::Ready(Ok(count)) => bytes = &bytes[count..],
                other => panic!("{} bytes left: {other:?}", bytes.len()),
            }
        }
    }

    /// Polls the core without a connection. Returns whether it is to be polled again.
    pub(crate) fn poll(&mut self) -> bool {
        self.core.begin_poll();
        self.end_poll()
    }

    /// Grants writes and ends the poll.
    pub(crate) fn end_poll(&mut self) -> bool {
        self.core.grant_writers();
        self.collect();
        self.core.end_poll() || self.core.needs_poll()
    }

    /// Reads all bytes that have arrived.
    pub(crate) fn read(&mut self, key: Key) -> Vec<u8> {
        self.read_at_most(key, usize::MAX).0
    }

    pub(crate) fn read_at_most(&mut self, key: Key, limit: usize) -> (Vec<u8>, Read) {
        let mut bytes = Vec::new();
        loop {
            let read = self.core.read(key, |front| {
                let count = front.len().min(limit - bytes.len());
                bytes.extend_from_slice(&front[..count]);
                count
            });
            self.collect();
            if !matches!(read, Read::Bytes) || bytes.len() == limit {
                return (bytes, read);
            }
        }
    }

    /// The outcome of a read that must find no bytes.
    pub(crate) fn read_end(&mut self, key: Key) -> Read {
        let (bytes, read) = self.read_at_most(key, usize::MAX);
        assert_eq!(bytes, b"", "bytes before the end");
        read
    }

    pub(crate) fn open_streams(&self) -> usize {
        self.core.stats().open_streams
    }
}

/// A client and a server.
pub(crate) struct Pair {
    pub(crate) client: Side,
    pub(crate) server: Side,
    pub(crate) now: Instant,
    /// The number of bytes that the wire holds in each direction.
    pub(crate) capacity: usize,
    /// The number of bytes that arrive at a time.
    pub(crate) chunk: usize,
    /// `true` if the connection ends when a session has, as it does under the driver. Otherwise a core
    /// stays at its last frames, so that tests can inspect it.
    pub(crate) closes: bool,
}

impl Pair {
    pub(crate) fn new() -> Self {
        Self::with(Config::default(), Config::default())
    }

    pub(crate) fn with(client: Config, server: Config) -> Self {
        let now = Instant::now();
        Self {
            client: Side::new(Role::Client, client, now),
            server: Side::new(Role::Server, server, now),
            now,
            capacity: usize::MAX,
            chunk: 4096,
            closes: false,
        }
    }

    /// Moves bytes both ways until nothing moves any more.
    pub(crate) fn drive(&mut self) {
        let mut left = MAX_STEPS + MAX_MOVED / self.capacity.min(self.chunk).max(1);
        while self.step() {
            left -= 1;
            assert!(left > 0, "the wire moves for ever");
        }
    }

    /// Moves the bytes of the wire once. Returns whether any moved.
    pub(crate) fn step(&mut self) -> bool {
        let sent = send(&mut self.client, &mut self.server, self.capacity, self.now)
            | send(&mut self.server, &mut self.client, self.capacity, self.now);
        let client = arrive(&mut self.client, self.chunk, self.now);
        let server = arrive(&mut self.server, self.chunk, self.now);
        let ended = self.closes
            && (cut_off(&self.client, &mut self.server) | cut_off(&self.server, &mut self.client));
        sent || client || server || ended
    }

    /// Lets time pass, deadline by deadline.
    pub(crate) fn advance(&mut self, duration: Duration) {
        let end = self.now + duration;
        self.drive();
        let mut guard = LivelockGuard::default();
        loop {
            let deadlines = [self.client.core.deadline(), self.server.core.deadline()];
            let next = deadlines
                .into_iter()
                .flatten()
                .min()
                .filter(|at| *at <= end);
            let Some(next) = next else { break };
            guard.deadline(self.now, next);
            self.now = self.now.max(next);
            for side in [&mut self.client, &mut self.server] {
                side.core.handle_timeout(self.now);
                side.collect();
            }
            self.drive();
        }
        self.now = end;
    }

    /// A stream that both ends know.
    pub(crate) fn stream(&mut self) -> (Key, Key) {
        let near = self.client.open();
        assert!(self.client.core.request_syn(near));
        self.drive();
        let far = self.accept();
        self.advance(Duration::from_millis(5));
        (near, far)
    }

    /// Accepts a stream of the client.
    pub(crate) fn accept(&mut self) -> Key {
        match self.server.core.accept(|| self.now) {
            Poll::Ready(Ok(Some(key))) => key,
            other => panic!("accepting: {other:?}"),
        }
    }
}

fn send(from: &mut Side, to: &mut Side, capacity: usize, now: Instant) -> bool {
    let mut moved = false;
    from.core.begin_poll();
    while from.core.wants_to_send() && to.incoming.len() < capacity {
        from.core.stage();
        let (front, back) = from.core.out.parts();
        let space = capacity - to.incoming.len();
        let bytes: Vec<u8> = front.iter().chain(back).copied().take(space).collect();
        from.output_checker.check(&bytes);
        to.incoming.extend(&bytes);
        from.core.out.consume(bytes.len());
        from.core.out.flushed();
        from.core.progressed();
        moved = true;
    }
    if from.core.out.is_empty() {
        from.core.sent_everything(now);
    }
    if from.core.wants_to_send() {
        from.core.stalled(now);
    }
    from.end_poll() || moved
}

/// Notifies `to` that `from` has ended the connection. Returns whether `to` was not notified before.
fn cut_off(from: &Side, to: &mut Side) -> bool {
    let is_new = from.is_shut() && to.incoming.is_empty() && !to.is_cut_off;
    if is_new {
        to.cut_off();
    }
    is_new
}

fn arrive(side: &mut Side, chunk: usize, now: Instant) -> bool {
    let count = side.incoming.len().min(chunk);
    let bytes: Vec<u8> = side.incoming.drain(..count).collect();
    side.feed(now, &bytes);
    count > 0
}
