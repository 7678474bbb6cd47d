//! A pair of cores beside a model of their guarantees: every stream is two byte pipes, waiting tasks are
//! woken, and nothing is left in the end.

use std::{
    collections::{HashMap, HashSet},
    task::Poll,
    time::Duration,
};

use super::{
    pair::{Pair, Side},
    scripted_step::{Limits, Script, ScriptedStep},
};
use crate::{
    core::{Event, Read},
    error::{OpenError, SessionError, StreamError},
    streams::Key,
};

/// The state of a stream at one end.
#[derive(Debug, Default)]
struct Seen {
    /// The end has had a handle of it.
    held: bool,
    written: usize,
    read: usize,
    finished: bool,
    /// A read has returned the end or a failure.
    ended: bool,
    was_reset: bool,
    dropped: bool,
}

/// The tasks that wait at one end. They poll again only when they were woken.
#[derive(Default)]
struct Waiting {
    readers: HashSet<u32>,
    writers: HashSet<u32>,
    opening: bool,
    accepting: bool,
}

/// One end's user.
#[derive(Default)]
struct User {
    limits: Limits,
    held: Vec<Key>,
    seen: HashMap<u32, Seen>,
    waiting: Waiting,
    /// GoAway(0) was sent, or the session closed: streams may be refused.
    has_left: bool,
    closed: bool,
}

impl User {
    fn seen(&mut self, key: Key) -> &mut Seen {
        self.seen.entry(key.id).or_default()
    }

    fn hold(&mut self, key: Key) {
        self.held.push(key);
        self.seen(key).held = true;
    }

    fn pick(&self, stream: u8) -> Option<Key> {
        let index = usize::from(stream).checked_rem(self.held.len())?;
        Some(self.held[index])
    }

    fn woken(&mut self, event: Event) {
        match event {
            Event::Readable(key) => drop(self.waiting.readers.remove(&key.id)),
            Event::Writable(key) => drop(self.waiting.writers.remove(&key.id)),
            Event::Acceptable => self.waiting.accepting = false,
            Event::Openable => self.waiting.opening = false,
            Event::PeerDraining | Event::Pong => {}
        }
    }

    /// Returns `true` if the end may refuse or abandon a stream that it never had a handle of.
    const fn may_refuse(&self) -> bool {
        self.limits.may_refuse() || self.has_left
    }
}

/// Two cores, and the model of their users.
pub(crate) struct Model {
    pair: Pair,
    users: [User; 2],
}

/// The byte at a position of a stream in one direction.
fn byte_at(id: u32, client: bool, position: usize) -> u8 {
    (position as u32)
        .wrapping_mul(31)
        .wrapping_add(id)
        .wrapping_add(u32::from(client) * 101) as u8
}

impl Model {
    /// Plays a script, lets all tasks finish, and checks that nothing is left.
    ///
    /// # Panics
    ///
    /// Panics if a guarantee does not hold.
    pub(crate) fn play(script: &Script) {
        let mut model = Self::new(script.client, script.server);
        for step in &script.steps {
            model.run(*step);
            model.check_outcomes();
        }
        model.settle();
        model.leave();
    }

    fn new(client: Limits, server: Limits) -> Self {
        let mut pair = Pair::with(client.config(), server.config());
        pair.closes = true;
        let user = |limits| User {
            limits,
            ..User::default()
        };
        Self {
            pair,
            users: [user(server), user(client)],
        }
    }

    fn side(&mut self, client: bool) -> &mut Side {
        if client {
            &mut self.pair.client
        } else {
            &mut self.pair.server
        }
    }

    fn user(&mut self, client: bool) -> &mut User {
        &mut self.users[usize::from(client)]
    }

    fn run(&mut self, step: ScriptedStep) {
        match step {
            ScriptedStep::Open { client } => self.open(client),
            ScriptedStep::Accept { client } => drop(self.accept(client)),
            ScriptedStep::SendSyn { client, stream } => self.with(client, stream, |model, key| {
                model.side(client).core.send_syn(key);
            }),
            ScriptedStep::Write {
                client,
                stream,
                length,
            } => self.with(client, stream, |model, key| {
                model.write(client, key, usize::from(length).max(1));
            }),
            ScriptedStep::Read {
                client,
                stream,
                limit,
            } => self.with(client, stream, |model, key| {
                model.read(client, key, usize::from(limit).max(1));
            }),
            ScriptedStep::Finish { client, stream } => self.with(client, stream, |model, key| {
                model.finish(client, key);
            }),
            ScriptedStep::Reset { client, stream } => self.with(client, stream, |model, key| {
                model.side(client).core.reset(key);
                model.user(client).seen(key).was_reset = true;
            }),
            ScriptedStep::Drop { client, stream } => self.with(client, stream, |model, key| {
                model.drop_stream(client, key);
            }),
            ScriptedStep::GoAway { client } => {
                self.side(client).core.go_away();
                self.user(client).has_left = true;
            }
            ScriptedStep::Close { client } => self.close(client),
            ScriptedStep::Move {
                capacity,
                chunk,
                rounds,
            } => {
                self.pair.capacity = usize::from(capacity).max(1);
                self.pair.chunk = usize::from(chunk).max(1);
                for _ in 0..rounds {
                    self.pair.step();
                }
            }
            ScriptedStep::Wait { millis } => {
                self.pair.capacity = usize::MAX;
                self.pair.chunk = self.pair.chunk.max(64);
                self.pair.advance(Duration::from_millis(millis.into()));
            }
        }
        self.collect();
    }

    /// Wakes the tasks that have an event.
    fn collect(&mut self) {
        for client in [false, true] {
            let side = self.side(client);
            side.collect();
            for event in std::mem::take(&mut side.events) {
                self.user(client).woken(event);
            }
        }
    }

    fn with(&mut self, client: bool, stream: u8, action: impl FnOnce(&mut Self, Key)) {
        if let Some(key) = self.user(client).pick(stream) {
            action(self, key);
        }
    }

    fn open(&mut self, client: bool) {
        let was_waiting = self.user(client).waiting.opening;
        let opened = self.side(client).core.open();
        // The peer may have filled the session meanwhile. That is not a lost wake-up.
        let is_full = matches!(opened, Poll::Ready(Err(OpenError::TooManyStreams { .. })));
        assert!(
            !was_waiting || opened.is_pending() || is_full,
            "a task that waits to open was not woken: {opened:?}"
        );
        match opened {
            Poll::Ready(Ok(key)) => self.user(client).hold(key),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.user(client).waiting.opening = true,
        }
    }

    fn accept(&mut self, client: bool) -> bool {
        let now = self.pair.now;
        let was_waiting = self.user(client).waiting.accepting;
        let accepted = self.side(client).core.accept(|| now);
        assert!(
            !was_waiting || accepted.is_pending(),
            "a task that waits to accept was not woken: {accepted:?}"
        );
        match accepted {
            Poll::Ready(Ok(Some(key))) => {
                self.user(client).hold(key);
                return true;
            }
            Poll::Ready(Ok(None) | Err(_)) => {}
            Poll::Pending => self.user(client).waiting.accepting = true,
        }
        false
    }

    fn write(&mut self, client: bool, key: Key, length: usize) {
        let start = self.user(client).seen(key).written;
        let bytes: Vec<u8> = (start..start + length)
            .map(|position| byte_at(key.id, client, position))
            .collect();
        // A waiting stream will be granted a write, and may make a sparse write before that.
        let was_waiting = self.user(client).waiting.writers.contains(&key.id)
            && !self.side(client).core.is_enqueued(key);
        let written = self.side(client).write(key, &bytes);
        assert!(
            !was_waiting || written.is_pending(),
            "a task that waits to write stream {} was not woken: {written:?}",
            key.id
        );
        let finished = self.user(client).seen(key).finished;
        match written {
            Poll::Ready(Ok(count)) => {
                assert!(!finished, "wrote after FIN");
                assert!(0 < count && count <= length);
                self.user(client).seen(key).written += count;
            }
            Poll::Ready(Err(StreamError::WriteClosed)) => assert!(finished),
            Poll::Ready(Err(error)) => self.check_failure(client, key, &error),
            Poll::Pending => drop(self.user(client).waiting.writers.insert(key.id)),
        }
    }

    fn read(&mut self, client: bool, key: Key, limit: usize) {
        let was_waiting = self.user(client).waiting.readers.contains(&key.id);
        let (bytes, read) = self.side(client).read_at_most(key, limit);
        assert!(
            !was_waiting || (bytes.is_empty() && matches!(read, Read::Pending)),
            "a task that waits to read stream {} was not woken: {} bytes, {read:?}",
            key.id,
            bytes.len()
        );
        let start = self.user(client).seen(key).read;
        for (offset, byte) in bytes.iter().enumerate() {
            let expected = byte_at(key.id, !client, start + offset);
            assert_eq!(*byte, expected, "stream {}", key.id);
        }
        let seen = self.user(client).seen(key);
        assert!(!seen.ended || bytes.is_empty(), "bytes after the end");
        seen.read += bytes.len();
        match read {
            Read::End => {
                seen.ended = true;
                let (read, other) = (seen.read, self.user(!client).seen(key));
                assert!(other.finished || other.dropped, "an end without a cause");
                assert_eq!(other.written, read, "the end came before the last byte");
            }
            Read::Failed(error) => {
                seen.ended = true;
                self.check_failure(client, key, &error);
            }
            Read::Pending => {
                assert!(!seen.ended, "the end was not the end");
                // As in a task that is about to wait.
                self.side(client).core.request_syn(key);
                self.user(client).waiting.readers.insert(key.id);
            }
            Read::Bytes => {}
        }
    }

    /// Checks that a failure of a stream has a reason.
    fn check_failure(&mut self, client: bool, key: Key, error: &StreamError) {
        let near = self.user(client).seen(key).was_reset;
        let may_refuse = self.user(!client).may_refuse();
        let other = self.user(!client).seen(key);
        // A dropped stream whose peer continues to send is reset.
        let is_excused = near || other.was_reset || other.dropped || (!other.held && may_refuse);
        assert!(is_excused, "stream {}: {error}, with {other:?}", key.id);
        if matches!(error, StreamError::Refused) {
            assert!(!other.held, "{other:?}");
        }
    }

    fn finish(&mut self, client: bool, key: Key) {
        match self.side(client).core.finish(key) {
            Ok(_) => self.user(client).seen(key).finished = true,
            Err(error) => self.check_failure(client, key, &error),
        }
    }

    fn drop_stream(&mut self, client: bool, key: Key) {
        let now = self.pair.now;
        self.side(client).core.handle_dropped(key, || now);
        let user = self.user(client);
        user.seen(key).dropped = true;
        user.held.retain(|other| *other != key);
        user.waiting.readers.remove(&key.id);
        user.waiting.writers.remove(&key.id);
    }

    fn close(&mut self, client: bool) {
        let now = self.pair.now;
        let side = self.side(client);
        let timeout = side.core.drain_timeout();
        side.core.close(now, Some(timeout));
        let user = self.user(client);
        (user.has_left, user.closed) = (true, true);
    }

    /// A session ends only when it was closed, and then cleanly. Only a stream that was opened
    /// while the other end was closing may be cut off.
    fn check_outcomes(&mut self) {
        for client in [false, true] {
            let outcome = self.side(client).core.outcome().cloned();
            let Some(outcome) = outcome else { continue };
            let closed = [client, !client].map(|client| self.user(client).closed);
            assert!(closed.contains(&true), "no end closed: {outcome:?}");
            match outcome {
                Ok(()) => {}
                Err(SessionError::DrainTimeout { .. }) if closed[0] => {}
                Err(SessionError::UnsentData) if closed[1] => {}
                Err(SessionError::ConnectionLost { .. }) if closed[1] => {
                    assert!(self.has_orphan(client), "{outcome:?}");
                }
                Err(_) => panic!("{outcome:?}"),
            }
        }
    }

    /// Returns `true` if one end has opened a stream that the other has never seen.
    fn has_orphan(&self, client: bool) -> bool {
        let others = &self.users[usize::from(!client)].seen;
        let is_orphan = |id: &u32| others.get(id).is_none_or(|seen| !seen.held);
        self.users[usize::from(client)].seen.keys().any(is_orphan)
    }

    /// Lets all tasks finish and read to the end. Every stream must end.
    fn settle(&mut self) {
        self.pair.capacity = usize::MAX;
        self.pair.chunk = 4096;
        for _ in 0..4 {
            for client in [false, true] {
                while self.accept(client) {
                    self.collect();
                }
                for key in self.user(client).held.clone() {
                    self.finish(client, key);
                    self.collect();
                    self.read(client, key, usize::MAX);
                    self.collect();
                }
            }
            self.pair.advance(Duration::from_secs(1));
            self.collect();
        }
        self.check_outcomes();
        for client in [false, true] {
            let user = self.user(client);
            for key in user.held.clone() {
                let seen = user.seen(key);
                assert!(seen.ended, "stream {} never ended: {seen:?}", key.id);
            }
        }
    }

    /// Drops everything; then nothing may be left at either end.
    fn leave(&mut self) {
        for client in [false, true] {
            for key in self.user(client).held.clone() {
                self.drop_stream(client, key);
            }
        }
        self.pair.advance(Duration::from_secs(1));
        self.collect();
        self.check_outcomes();
        for side in [&self.pair.client, &self.pair.server] {
            assert_eq!(side.core.store.keys().count(), 0, "entries are left");
            assert_eq!(side.core.stats().unread_bytes, 0);
            assert_eq!(side.core.unacknowledged, 0);
            assert_eq!(side.core.grown, 0);
            assert!(!side.core.wants_to_send(), "something never left");
        }
    }
}
