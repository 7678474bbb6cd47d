//! Writing: who may send how much now, and who waits for what.

use std::{
    io::IoSlice,
    task::{Poll, ready},
    time::Instant,
};

use super::{Core, Event};
use crate::{
    error::{SessionError, StreamError},
    frame::{Flags, HEADER_LEN, Header, MAX_PAYLOAD},
    streams::{Key, ResetBy, State, StreamEntry},
};

/// How much may be queued before the writer itself asks the connection to take it, however busy the session is.
pub(crate) const FLUSH_AT: usize = 32 * 1024;

/// How far beyond its limit the queue is open to streams that were called: others, who may go beyond it by a frame,
/// have perhaps filled it between the call and the moment when the one who was called came, and would do so
/// each time.
const RESERVED: usize = 2 * (MAX_PAYLOAD + HEADER_LEN);

/// How far beyond its limit data can fill the queue at the most: others by a frame, those who were called by what
/// is reserved for them, and a large write by the rest of a frame of which the connection took a part.
pub(crate) const BEYOND: usize = RESERVED + 2 * (MAX_PAYLOAD + HEADER_LEN);

/// What a stream may send now: window and turn are taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    stream: u32,
    /// Those of the first frame.
    flags: Flags,
    length: u32,
}

impl Grant {
    /// How many bytes of payload.
    pub(crate) const fn len(self) -> usize {
        self.length as usize
    }

    /// The headers of the frames for it, each of at most 16 KiB.
    pub(crate) fn headers(self) -> impl Iterator<Item = Header> {
        let mut left = self.length;
        let mut flags = self.flags;
        std::iter::from_fn(move || {
            let length = left.min(MAX_PAYLOAD as u32);
            left -= length;
            let flags = std::mem::replace(&mut flags, Flags::NONE);
            (length > 0).then(|| Header::data(self.stream, flags, length))
        })
    }
}

/// The outcome of writing: how many bytes were taken, or pending for a window or a turn.
pub(crate) type Written = Poll<Result<usize, StreamError>>;

impl Core {
    /// Queues bytes, one frame at most.
    pub(crate) fn write(&mut self, key: Key, payload: &[IoSlice<'_>]) -> Written {
        let wanted = payload.iter().map(|slice| slice.len()).sum();
        let grant = ready!(self.begin_data(key, wanted, 1))?;
        for header in grant.headers() {
            self.push_data(header, payload);
        }
        Poll::Ready(Ok(grant.len()))
    }

    /// Takes window and turn for `wanted` bytes, as far as they fit into `frames`. The caller must send
    /// these, headers and payloads, behind everything that is queued.
    pub(crate) fn begin_data(
        &mut self,
        key: Key,
        wanted: usize,
        frames: usize,
    ) -> Poll<Result<Grant, StreamError>> {
        let is_small = ready!(self.poll_turn(key, wanted))?;
        let frames = if self.has_short_turns() && self.line.has_large() {
            1
        } else {
            frames.min(self.pace.frames())
        };
        let go = self.pace.go();
        let Some(entry) = self.store.get_mut(key) else {
            return Poll::Ready(Err(StreamError::Closed));
        };
        let length = entry.send_window.take(wanted.min(frames * MAX_PAYLOAD));
        let flags = entry.take_flags();
        entry.share.send(length, wanted, go);
        if is_small {
            self.line.pass(HEADER_LEN as u32 + length);
        } else {
            self.pace.large_write(key, length);
        }
        self.stats.bytes_sent += u64::from(length);
        let stream = key.id;
        Poll::Ready(Ok(Grant {
            stream,
            flags,
            length,
        }))
    }

    /// Whether the stream may write now, and then whether what it writes counts as little. Else it waits: for its
    /// window, or in line.
    fn poll_turn(&mut self, key: Key, wanted: usize) -> Poll<Result<bool, StreamError>> {
        if let Some(error) = self.write_error(key) {
            return Poll::Ready(Err(error));
        }
        let (has_room, has_reserve) = (self.has_room(), self.has_reserve());
        // A connection that is slow is everybody's.
        let needs_turn = self.line.has_large() || self.is_stalled();
        let (has_company, has_short_turns) = (self.pace.has_company(), self.has_short_turns());
        let go = self.pace.go();
        let Some(entry) = self.store.get_mut(key) else {
            return Poll::Ready(Err(StreamError::Closed));
        };
        if entry.send_window.available() == 0 {
            self.stats.window_stalls += 1;
            return Poll::Pending;
        }
        let is_small = entry.share.is_small(wanted, go, has_company);
        let was_called = entry.share.take_call(is_small);
        if is_small && !entry.share.writes_much(go) {
            self.pace.small_write(key);
        }
        let has_turn = entry.share.keeps_turn(has_short_turns) || was_called;
        // Others, who may write as long as there is room, have perhaps filled the queue since the call.
        let may_join = has_room || (was_called && has_reserve);
        // Who waited for its window meanwhile passes those who wait. Who has been called before and came
        // when others had used the go up may write all the same: it may always be the last to run.
        let is_next = (!self.pace.is_resting() || (was_called && entry.share.is_late()))
            && (has_turn || !needs_turn);
        if may_join && (is_small || is_next) {
            return Poll::Ready(Ok(is_small));
        }
        if is_small {
            if let Some(call) = entry.share.wait_for_room(wanted, was_called) {
                self.line.stand_for_room(key, call);
            }
        } else if let Some(poll) = entry.share.wait(was_called) {
            self.line.stand(key, poll);
        }
        if self.line.is_stale(self.store.live()) {
            self.line.retain(|key| self.store.get(key).is_some());
        }
        Poll::Pending
    }

    /// The last `length` bytes of those that were begun, in frames without flags, are not sent after all.
    pub(crate) fn refund(&mut self, key: Key, length: usize) {
        if let Some(entry) = self.store.get_mut(key) {
            // As many bytes were taken out of the window, so there is room for them.
            entry.send_window.give_back(length as u32);
            self.stats.bytes_sent -= length as u64;
            entry.share.refund(length as u32);
            self.pace.refund(length);
        }
    }

    /// Why nothing can be sent, after writing to the connection failed.
    pub(crate) fn write_failure(&self) -> Option<SessionError> {
        let (error, _) = self.write_failure.as_ref()?;
        Some(error.clone())
    }

    /// Why the stream cannot be written, if it cannot.
    pub(crate) fn write_error(&self, key: Key) -> Option<StreamError> {
        let Some(entry) = self.store.get(key) else {
            return Some(StreamError::Closed);
        };
        if let Some(error) = self.stream_error(entry.state) {
            return Some(error);
        }
        if let Some((error, _)) = &self.write_failure {
            return Some(StreamError::Session(error.clone()));
        }
        (!entry.state.can_send()).then_some(StreamError::WriteClosed)
    }

    /// Why the stream failed, if it did.
    pub(super) fn stream_error(&self, state: State) -> Option<StreamError> {
        match state {
            State::Reset(ResetBy::Local) => return Some(StreamError::LocalReset),
            State::Reset(ResetBy::Close) => return Some(StreamError::Closed),
            State::Reset(ResetBy::Refusal) => return Some(StreamError::Refused),
            State::Reset(ResetBy::Remote) => return Some(StreamError::Reset),
            State::Closed => return None,
            State::Open | State::LocalDone | State::RemoteDone => {}
        }
        match self.outcome()? {
            Ok(()) => Some(StreamError::Closed),
            Err(error) => Some(StreamError::Session(error.clone())),
        }
    }

    /// The caller's turn begins; those who were called have run since the last one.
    pub(crate) fn begin_poll(&mut self, now: impl FnOnce() -> Instant) {
        self.pace.begin_poll(now);
        self.line.has_called = false;
        if self.out.is_empty() && self.line.is_empty() {
            // Everything has left and nobody waits: what was written before delays nobody.
            self.pace.idle();
        }
    }

    /// The caller's turn is over. Returns whether everybody is to run before the next one, because large writes
    /// have sent enough.
    pub(crate) fn end_poll(&mut self) -> bool {
        self.pace.end_poll()
    }

    /// Whether large writes have sent enough, and the caller is to have a turn.
    pub(crate) fn has_used_go(&self) -> bool {
        self.pace.has_used_go()
    }

    /// Calls waiting writers: those who want to write little as far as there is room, then one of those who want
    /// to write much, who may use all there is. Once in each of the caller's turns, so that whoever was called
    /// has time to come before the next is.
    /// Returns whether the next turn must come soon, because there is room for more.
    pub(crate) fn grant_writers(&mut self) -> bool {
        if self.line.has_called || !self.has_grantable_writers() {
            return self.has_grantable_writers();
        }
        let mut room = self.config.send_queue.saturating_sub(self.out.len());
        let is_overdue = self.is_overdue();
        if is_overdue && self.takes_large() {
            // Whoever waits for room is called all the same, however small the queue is.
            room = room.saturating_sub(self.call_large()).max(1);
        }
        if is_overdue || self.line.has_late() {
            // Whoever always comes last finds a place although all others have filled the queue before.
            room = room.min(RESERVED / 2);
        }
        while room > 0
            && let Some((key, number)) = self.line.call_small()
        {
            if let Some(entry) = self.writer(key) {
                room = room.saturating_sub(HEADER_LEN + entry.share.call_small(number));
                self.events.push_back(Event::Writable(key));
            }
        }
        if room > 0 && !is_overdue && self.takes_large() {
            self.call_large();
        }
        false
    }

    /// Calls the next of those who want to write much, and returns how much room one write of it takes.
    fn call_large(&mut self) -> usize {
        let go = self.pace.go();
        while let Some((key, number)) = self.line.call() {
            if let Some(entry) = self.writer(key) {
                entry.share.call(go, number);
                self.events.push_back(Event::Writable(key));
                return HEADER_LEN + MAX_PAYLOAD;
            }
        }
        0
    }

    /// A stream that waits to write, unless it is gone.
    fn writer(&mut self, key: Key) -> Option<&mut StreamEntry> {
        let entry = self.store.get_mut(key)?;
        entry.state.can_send().then_some(entry)
    }

    /// Whether somebody who wants to write much may be called.
    fn takes_large(&self) -> bool {
        (!self.is_stalled() || self.is_overdue()) && !self.pace.is_resting()
    }

    /// Whether enough has passed those who stand in line: on a slow connection, small writes can fill the queue
    /// again and again.
    fn is_overdue(&self) -> bool {
        self.line.passed() >= self.config.send_queue
    }

    /// Whether a turn is a frame, because somebody waits for what others send: or may do so unseen, where writers fill
    /// the queue and have to wait before anybody finds the connection slow.
    fn has_short_turns(&self) -> bool {
        self.pace.has_company() || self.is_stalled() || self.config.send_queue < FLUSH_AT
    }

    /// Whether writers wait although there is room for them: one who was called may never come, so the next
    /// must be called without waiting for bytes to leave.
    pub(crate) fn has_grantable_writers(&self) -> bool {
        let has_large = self.line.has_large() && self.takes_large();
        self.has_room() && (has_large || self.line.has_small())
    }

    /// Whether the stream waits for a turn.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn is_in_line(&self, key: Key) -> bool {
        self.store
            .get(key)
            .is_some_and(|entry| entry.share.is_in_line() || entry.share.waits_for_room())
    }

    /// Whether frames may join the queue.
    pub(super) fn has_room(&self) -> bool {
        self.out.len() < self.config.send_queue
    }

    /// Whether a write of a stream that was called may join the queue.
    fn has_reserve(&self) -> bool {
        self.out.len() < self.config.send_queue.saturating_add(RESERVED)
    }
}
