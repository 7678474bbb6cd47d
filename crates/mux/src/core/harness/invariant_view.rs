//! One core exposed to a peer that may send anything, with a user that acts as programs do.

use std::{
    task::Poll,
    time::{Duration, Instant},
};

use super::{
    output_checker::OutputChecker,
    pair::{LivelockGuard, Side},
    work,
};
use crate::{
    config::{Config, INITIAL_WINDOW, Role},
    core::{Core, MAX_BLOCK, MAX_HANDSHAKES_DUE, OVERSHOOT, Read},
    frame::HEADER_LEN,
    streams::{Key, MIN_ZERO_COPY},
};

/// The bytes of each write of the user.
const RESPONSE: &[u8] = b"a response of the program under test";

/// The number of handles that the user holds before it drops the oldest.
const MAX_HELD: usize = 12;

/// Limits so small that short inputs reach them.
const BACKLOG: usize = 4;
const STREAMS: usize = 16;
const REPLIES: usize = 8;
const SEND_QUEUE: usize = 256;
const BUFFERED: usize = 8 * 1024;

/// The number of bytes that a repeating peer sends.
const FLOOD: usize = 96 * 1024;

/// The largest number of chunks of an input.
const CHUNKS: usize = 2000;

/// The number of visits of streams that a byte of the peer may cause. A frame has 12 bytes.
const WORK_PER_BYTE: u64 = 8;

/// The settings of an input, cut off its front.
struct Schedule<'a> {
    role: Role,
    is_limited: bool,
    /// `true` if the connection ends with the input; otherwise the peer is silent then.
    ends: bool,
    /// The number of repetitions of the peer's bytes.
    repeats: usize,
    /// Pairs: the length of a chunk, 0 for all of the rest, and the action of the user after it.
    steps: &'a [[u8; 2]],
    bytes: &'a [u8],
}

impl<'a> Schedule<'a> {
    /// The first byte holds flags and the number of steps, the steps follow, then the peer's
    /// bytes. Every input is valid.
    fn parse(input: &'a [u8]) -> Self {
        let (flags, rest) = input
            .split_first()
            .map_or((0, input), |(flags, rest)| (*flags, rest));
        let steps = rest.as_chunks::<2>().0;
        let steps = &steps[..steps.len().min(usize::from(flags >> 3 & 15))];
        let bytes = &rest[2 * steps.len()..];
        Self {
            role: if flags & 1 == 0 {
                Role::Server
            } else {
                Role::Client
            },
            is_limited: flags & 2 != 0,
            ends: flags & 4 != 0,
            // Floods, limited to some milliseconds of the test.
            repeats: if flags & 128 == 0 {
                1
            } else {
                (FLOOD / bytes.len().max(1)).max(1)
            },
            steps,
            bytes,
        }
    }

    fn config(&self) -> Config {
        let config = Config::new();
        if !self.is_limited {
            return config;
        }
        config
            .accept_backlog(BACKLOG)
            .max_streams(STREAMS)
            .max_control_replies(REPLIES)
            .max_unacknowledged(BACKLOG)
            .max_buffered(BUFFERED)
            .max_window_growth(INITIAL_WINDOW as usize)
            .send_queue(SEND_QUEUE)
    }
}

/// A core, its user, and the peer that reads the output of the core.
pub(crate) struct InvariantView {
    side: Side,
    output_checker: OutputChecker,
    now: Instant,
    held: Vec<Key>,
    is_limited: bool,
}

impl InvariantView {
    /// Plays an input to a core.
    ///
    /// # Panics
    ///
    /// Panics if the core violates an invariant that holds for every input.
    pub(crate) fn play(input: &[u8]) {
        let schedule = Schedule::parse(input);
        let now = Instant::now();
        let mut invariant_view = Self {
            side: Side::new(schedule.role, schedule.config(), now),
            output_checker: OutputChecker::new(schedule.role),
            now,
            held: Vec::new(),
            is_limited: schedule.is_limited,
        };
        invariant_view.feed_all(&schedule);
        invariant_view.end(schedule.ends);
    }

    fn feed_all(&mut self, schedule: &Schedule<'_>) {
        let mut steps = schedule.steps.iter().cycle();
        let mut fed = 0;
        for _ in 0..schedule.repeats {
            let mut bytes = schedule.bytes;
            while !bytes.is_empty() && !self.side.core.has_ended() {
                fed += 1;
                if fed > CHUNKS {
                    return;
                }
                let [length, action] = steps.next().copied().unwrap_or_default();
                let length = match usize::from(length) {
                    0 => bytes.len(),
                    length => length.min(bytes.len()),
                };
                let (chunk, rest) = bytes.split_at(length);
                bytes = rest;
                self.feed(chunk);
                self.act(action & 15, usize::from(action >> 4));
                self.side.collect();
                self.side.events.clear();
            }
        }
    }

    fn feed(&mut self, chunk: &[u8]) {
        let before = work::looks();
        self.side.feed(self.now, chunk);
        let work = work::looks() - before;
        // A session that ends visits each of its streams.
        let allowed = WORK_PER_BYTE * chunk.len() as u64 + 64 * (STREAMS + BACKLOG) as u64;
        if self.is_limited {
            assert!(work <= allowed, "{work} steps for {} bytes", chunk.len());
        }
        self.side.events.clear();
        self.check_memory(chunk.len());
    }

    /// An action of the user; `which` chooses a stream.
    fn act(&mut self, action: u8, which: usize) {
        match action {
            1 => drop(self.accept()),
            2 => self.with(which, |invariant_view, key| {
                invariant_view.side.read(key);
            }),
            3 => self.with(which, |invariant_view, key| {
                invariant_view.side.read_at_most(key, 100);
            }),
            4 => self.with(which, Self::write),
            5 => self.with(which, |invariant_view, key| {
                // The peer may have caused a failure.
                let _ = invariant_view.side.core.finish(key);
            }),
            6 => self.with(which, |invariant_view, key| {
                invariant_view.side.core.reset(key)
            }),
            7 => self.with(which, Self::handle_dropped),
            8 => self.open(),
            9 => self.wait(Duration::from_millis(5)),
            10 => self.wait(Duration::from_secs(31)),
            11 => self.drain(),
            12 => self.side.core.go_away(),
            13 => self.side.core.close(self.now, Some(Duration::from_secs(2))),
            14 => self.handle_quickly(),
            15 => self.echo(),
            _ => {}
        }
    }

    fn with(&mut self, which: usize, action: impl FnOnce(&mut Self, Key)) {
        if !self.held.is_empty() {
            action(self, self.held[which % self.held.len()]);
        }
    }

    fn hold(&mut self, key: Key) {
        if self.held.len() == MAX_HELD {
            self.handle_dropped(self.held[0]);
        }
        self.held.push(key);
    }

    fn accept(&mut self) -> Option<Key> {
        let now = self.now;
        let Poll::Ready(Ok(Some(key))) = self.side.core.accept(|| now) else {
            return None;
        };
        self.hold(key);
        Some(key)
    }

    fn open(&mut self) {
        if let Poll::Ready(Ok(key)) = self.side.core.open() {
            self.hold(key);
        }
    }

    fn write(&mut self, key: Key) {
        // The peer may have caused a failure.
        let _ = self.side.write(key, RESPONSE);
    }

    fn handle_dropped(&mut self, key: Key) {
        let now = self.now;
        self.side.core.handle_dropped(key, || now);
        self.held.retain(|other| *other != key);
    }

    /// Accepts every queued stream and drops it.
    fn handle_quickly(&mut self) {
        while let Some(key) = self.accept() {
            self.handle_dropped(key);
        }
    }

    /// Accepts every queued stream, sends its bytes back, and drops it.
    fn echo(&mut self) {
        while let Some(key) = self.accept() {
            let bytes = self.side.read(key);
            if !bytes.is_empty() {
                let _ = self
                    .side
                    .write(key, &bytes[..bytes.len().min(RESPONSE.len())]);
            }
            self.handle_dropped(key);
        }
    }

    fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        let mut guard = LivelockGuard::default();
        while let Some(at) = self.side.core.deadline().filter(|at| *at <= end) {
            guard.deadline(self.now, at);
            self.now = self.now.max(at);
            self.side.core.handle_timeout(self.now);
            self.side.collect();
        }
        self.now = end;
    }

    /// The peer reads everything that was sent.
    fn drain(&mut self) {
        self.side.core.begin_poll();
        while self.side.core.wants_to_send() {
            self.side.core.stage();
            let (front, back) = self.side.core.out.parts();
            self.output_checker.check(front);
            self.output_checker.check(back);
            self.side.core.out.consume(usize::MAX);
            self.side.core.out.flushed();
            self.side.core.progressed();
        }
        self.side.core.sent_everything(self.now);
        self.side.end_poll();
    }

    fn check_memory(&self, chunk: usize) {
        if self.is_limited {
            let (held, bound) = (self.side.core.accounted_memory(), bound(chunk));
            assert!(
                held <= bound,
                "{held} bytes are held, at most {bound} may be"
            );
        }
    }

    /// The peer has disconnected: the session ends by itself and holds no memory.
    fn end(mut self, connection_ends: bool) {
        self.drain();
        if connection_ends {
            self.side.cut_off();
        } else {
            // A ping detects it, or the due frames are sent and the connection stays open.
            self.wait(Duration::from_secs(3600));
            self.drain();
            self.wait(Duration::from_secs(1));
        }
        assert!(self.side.core.has_ended(), "the session outlives its peer");
        for key in std::mem::take(&mut self.held) {
            self.read_to_the_end(key);
            self.handle_dropped(key);
        }
        // The last handle of the session is dropped, so no task can accept the queued streams.
        self.side.core.drop_unaccepted();
        self.side.collect();
        assert_eq!(self.side.core.store.keys().count(), 0, "entries are left");
        assert_eq!(self.side.core.stats().unread_bytes, 0);
        assert!(!self.side.core.wants_to_send());
    }

    fn read_to_the_end(&mut self, key: Key) {
        let (_, read) = self.side.read_at_most(key, usize::MAX);
        assert!(
            matches!(read, Read::End | Read::Failed(_)),
            "a reader waits after the end: {read:?}"
        );
    }
}

/// The number of bytes that a core with the small limits may hold after a chunk of this length, by its
/// documentation.
fn bound(chunk: usize) -> usize {
    // Small payloads are copied into chunks of up to twice their size and at least 64 bytes; each
    // large one may keep a whole block.
    let blocks = BUFFERED / MIN_ZERO_COPY + 1;
    let unread = 2 * BUFFERED + (STREAMS + MAX_HELD) * 512 + blocks * MAX_BLOCK;
    let entries = (STREAMS + MAX_HELD) * Core::ENTRY_COST;
    // A session over its limit ends at the next chunk; until then each frame may cause a reply.
    let control = (2 * REPLIES + 4 * STREAMS) * HEADER_LEN;
    let queue = SEND_QUEUE + OVERSHOOT + control + 2 * chunk;
    let waiting = (STREAMS + MAX_HELD + 2 * MAX_HANDSHAKES_DUE) * 2 * size_of::<Key>();
    unread + entries + queue + waiting
}
