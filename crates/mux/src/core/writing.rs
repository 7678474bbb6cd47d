//! Writing: the window and the grants of a stream, and its data frames.

use std::{
    io::IoSlice,
    task::{Poll, ready},
};

use super::{
    Core, Event,
    ending::Phase,
    scheduler::{LATE, Queue},
    timing::Timer,
};
use crate::{
    error::StreamError,
    frame::{Flags, HEADER_LEN, Header, MAX_PAYLOAD},
    streams::{Key, ResetBy, State},
};

/// From this length on, a writer itself writes the queue to the connection, however busy the session is.
pub(crate) const FLUSH_AT: usize = 32 * 1024;

/// The number of bytes by which data can exceed the limit of the queue: by a write of which a byte fits, by writes whose
/// reservation has expired, and by the rest of a frame that the connection took in part.
pub(crate) const OVERSHOOT: usize = LATE + 2 * (MAX_PAYLOAD + HEADER_LEN);

/// The bytes that a stream sends now. They are taken out of its window and its grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    stream: u32,
    /// The flags of the first frame.
    flags: Flags,
    length: u32,
}

impl Grant {
    /// The number of bytes of payload.
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

impl Core {
    /// Queues bytes, one frame at most, and returns their number. Pending while the stream waits for its window or for a
    /// grant.
    pub(crate) fn write(
        &mut self,
        key: Key,
        payload: &[IoSlice<'_>],
    ) -> Poll<Result<usize, StreamError>> {
        let wanted = payload.iter().map(|slice| slice.len()).sum();
        let grant = ready!(self.begin_data(key, wanted, 1))?;
        grant.headers().for_each(|header| self.push_frame(header));
        let mut left = grant.len();
        for slice in payload {
            let part = &slice[..slice.len().min(left)];
            self.out.push_data(part);
            left -= part.len();
        }
        Poll::Ready(Ok(grant.len()))
    }

    /// Takes up to `wanted` bytes of the stream's window and of its share, as far as they fit into `frames`. The
    /// caller must send these, headers and payloads, behind everything that is queued. Pending while the stream
    /// waits for its window or for a grant.
    pub(crate) fn begin_data(
        &mut self,
        key: Key,
        wanted: usize,
        frames: usize,
    ) -> Poll<Result<Grant, StreamError>> {
        if let Some(error) = self.write_error(key) {
            return Poll::Ready(Err(error));
        }
        let queue = self.queue();
        let Some(entry) = self.store.get_mut(key) else {
            return Poll::Ready(Err(StreamError::Closed));
        };
        if entry.send_window.available() == 0 {
            self.stats.window_stalls += 1;
            self.scheduler.stall(key, &mut entry.flow);
            return Poll::Pending;
        }
        let Some(admitted) = self.scheduler.admit(key, &mut entry.flow, wanted, queue) else {
            self.scheduler.purge(&self.store);
            return Poll::Pending;
        };
        let most = admitted.min(frames.saturating_mul(MAX_PAYLOAD));
        let length = entry.send_window.take(wanted.min(most));
        let flags = entry.take_flags();
        self.scheduler.sent(key, &mut entry.flow, length, wanted);
        self.stats.bytes_sent += u64::from(length);
        Poll::Ready(Ok(Grant {
            stream: key.id,
            flags,
            length,
        }))
    }

    /// The connection did not take the last `length` bytes of a grant, in frames without flags.
    pub(crate) fn refund(&mut self, key: Key, length: usize) {
        if let Some(entry) = self.store.get_mut(key) {
            // As many bytes were taken out of the window, so they fit.
            entry.send_window.give_back(length as u32);
            self.stats.bytes_sent -= length as u64;
            self.scheduler.refund(&mut entry.flow, length as u32);
        }
    }

    /// The error of all writes after writing to the connection failed.
    pub(crate) fn write_failure(&self) -> Option<StreamError> {
        match &self.phase {
            Phase::WriteFailed(error) => Some(StreamError::Session(error.clone())),
            _ => None,
        }
    }

    /// The error of a stream that cannot be written.
    pub(crate) fn write_error(&self, key: Key) -> Option<StreamError> {
        let Some(entry) = self.store.get(key) else {
            return Some(StreamError::Closed);
        };
        let failure = self
            .stream_error(entry.state)
            .or_else(|| self.write_failure());
        failure.or_else(|| (!entry.state.can_send()).then_some(StreamError::WriteClosed))
    }

    /// The error of a stream that has failed.
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

    /// A poll of the driver begins. The tasks that were woken before the last one have run.
    pub(crate) fn begin_poll(&mut self) {
        self.scheduler.begin_poll(self.out.is_empty());
    }

    /// The poll of the driver ends. Returns whether all tasks are to run before the next one, because bulk streams
    /// have used the round up.
    pub(crate) fn end_poll(&mut self) -> bool {
        self.scheduler.end_poll()
    }

    /// Returns `true` if bulk streams have used the round up, and the driver is to be polled.
    pub(crate) fn is_round_spent(&self) -> bool {
        self.scheduler.is_spent()
    }

    /// Grants writes to waiting streams while the queue has space, and wakes them.
    pub(crate) fn grant_writers(&mut self) {
        if self.scheduler.is_empty() {
            return;
        }
        let queue = self.queue();
        while let Some(key) = self.scheduler.grant(&mut self.store, queue) {
            self.events.push_back(Event::Writable(key));
        }
    }

    /// Returns `true` if the driver is to be polled again without waiting for the connection, because streams wait
    /// although the queue has space.
    pub(crate) fn needs_poll(&self) -> bool {
        self.scheduler.needs_poll(self.queue())
    }

    fn queue(&self) -> Queue {
        Queue {
            len: self.out.len(),
            limit: self.config.send_queue,
            is_blocked: self.deadlines[Timer::Write].is_some(),
        }
    }

    /// Returns `true` if control frames may join the queue.
    pub(super) fn has_space(&self) -> bool {
        self.out.len() < self.config.send_queue
    }
}
