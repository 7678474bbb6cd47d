//! The commands of users: open, read, finish, reset, drop the handle.

use std::{task::Poll, time::Instant};

use super::{Core, Event, ending::Phase};
use crate::{
    config::INITIAL_WINDOW,
    error::{OpenError, StreamError},
    frame::{Flags, Header},
    streams::{Handshake, Key, ResetBy, State, StreamEntry},
};

/// The outcome of reading.
#[derive(Debug)]
pub(crate) enum Read {
    /// Bytes were copied, as many as fit into the reader's buffer.
    Bytes,
    /// The peer has finished and everything was read.
    End,
    /// Nothing has arrived yet.
    Pending,
    /// Nothing will arrive any more.
    Failed(StreamError),
}

impl Core {
    /// Opens a stream; pending while too many are unacknowledged. Nothing is sent yet: SYN is sent with the first
    /// frame of the stream.
    pub(crate) fn open(&mut self) -> Poll<Result<Key, OpenError>> {
        if let Some(error) = self.open_error() {
            return Poll::Ready(Err(error));
        }
        if self.unacknowledged >= self.config.max_unacknowledged {
            return Poll::Pending;
        }
        // `open_error` has checked that the id fits.
        let id = self.next_id as u32;
        self.next_id += 2;
        self.unacknowledged += 1;
        self.stats.opened += 1;
        let entry = StreamEntry::new(id, Handshake::SynDue, INITIAL_WINDOW);
        Poll::Ready(Ok(self.store.insert(entry)))
    }

    /// The error of opening a stream without waiting while `open` is pending.
    pub(crate) const fn too_many_unacknowledged(&self) -> OpenError {
        OpenError::TooManyUnacknowledged {
            limit: self.config.max_unacknowledged,
        }
    }

    fn open_error(&self) -> Option<OpenError> {
        if let Some(outcome) = self.outcome() {
            return Some(match outcome {
                Ok(()) => OpenError::Closed,
                Err(error) => OpenError::Session(error.clone()),
            });
        }
        match &self.phase {
            Phase::WriteFailed(error) => return Some(OpenError::Session(error.clone())),
            Phase::Draining => return Some(OpenError::Closed),
            _ => {}
        }
        if self.remote_go_away {
            return Some(OpenError::RemoteGoAway);
        }
        if self.store.live() >= self.config.max_streams {
            return Some(OpenError::TooManyStreams {
                limit: self.config.max_streams,
            });
        }
        (self.next_id > u64::from(u32::MAX)).then_some(OpenError::IdsExhausted)
    }

    /// Reads from a stream with a function that copies bytes and returns the number of bytes that it copied.
    #[inline]
    pub(crate) fn read(&mut self, key: Key, mut copy: impl FnMut(&[u8]) -> usize) -> Read {
        let mut total = 0;
        loop {
            let Some(entry) = self.store.get_mut(key) else {
                return Read::Failed(StreamError::Closed);
            };
            let is_empty = entry.recv.is_empty();
            let count = if is_empty {
                0
            } else {
                copy(entry.recv.front())
            };
            if count > 0 {
                total += count;
                if let Some(block) = entry.recv.advance(count) {
                    self.slice_read(block);
                }
                continue;
            }
            if total > 0 {
                self.consumed(key, total);
            } else if is_empty && entry.eof {
                return Read::End;
            } else if is_empty {
                let state = entry.state;
                return self.stream_error(state).map_or(Read::Pending, Read::Failed);
            }
            return Read::Bytes;
        }
    }

    /// The user has read bytes: gives credit for them once they are half of the window.
    fn consumed(&mut self, key: Key, count: usize) {
        self.buffered -= count;
        let Some(entry) = self.store.get_mut(key) else {
            return;
        };
        let window = &mut entry.recv_window;
        window.consume(count);
        if !entry.state.can_recv() {
            return;
        }
        window.assert_invariant_at_most(entry.recv.len());
        // A lone stream whose reader is slow must not be reset for its unread bytes.
        let most = (self.config.max_stream_window as usize).min(self.config.max_buffered);
        let budget = self.config.max_window_growth.saturating_sub(self.grown);
        let growth = most.saturating_sub(window.size() as usize).min(budget);
        let growth = u32::try_from(growth).unwrap_or(u32::MAX);
        let size = window.size();
        if let Some(credit) = window.take_credit(self.now, growth) {
            self.grown += (window.size() - size) as usize;
            let flags = entry.take_flags();
            self.push_frame(Header::window_update(key.id, flags, credit));
        }
    }

    /// Sends SYN before the queue is written next, unless data carries it earlier: the peer may have
    /// to send first. Returns whether it was due.
    pub(crate) fn request_syn(&mut self, key: Key) -> bool {
        let is_due = self.owes_syn(key);
        if is_due {
            if self.handshakes_due.back() != Some(&key) {
                self.handshakes_due.push_back(key);
            }
            self.has_syn_due = true;
        }
        is_due
    }

    fn owes_syn(&self, key: Key) -> bool {
        let entry = self.store.get(key);
        entry.is_some_and(|entry| entry.handshake == Handshake::SynDue)
    }

    /// Sends SYN now if it was not sent yet.
    pub(crate) fn send_syn(&mut self, key: Key) {
        if self.owes_syn(key) {
            self.push_handshake(key);
        }
    }

    /// Ends the write side: FIN in a frame of its own, behind the last data. A Go peer that receives
    /// FIN on a data frame may read the end before the bytes. Returns whether it was queued now, and not before.
    ///
    /// # Errors
    ///
    /// Returns [`StreamError`] if the stream or the session has failed before.
    pub(crate) fn finish(&mut self, key: Key) -> Result<bool, StreamError> {
        match self.write_error(key) {
            None => {}
            Some(StreamError::WriteClosed) => return Ok(false),
            Some(error) => return Err(error),
        }
        self.send_syn(key);
        let Some(entry) = self.store.get_mut(key) else {
            return Ok(false);
        };
        entry.state.send_fin();
        let flags = entry.take_flags().with(Flags::FIN);
        let is_over = entry.state.is_over();
        self.push_frame(Header::window_update(key.id, flags, 0));
        // A writer that waits in another task would wait forever.
        self.events.push_back(Event::Writable(key));
        if is_over {
            self.remove_id(key);
        }
        Ok(true)
    }

    /// The stream was written or finished, and its frames are at the end of the queue.
    pub(crate) fn mark_sent(&mut self, key: Key) {
        let position = self.out.position();
        if let Some(entry) = self.store.get_mut(key) {
            entry.sent_to = position;
        }
    }

    /// Returns `true` if the connection has taken and flushed all frames of the stream, SYN included.
    pub(crate) fn is_sent(&self, key: Key) -> bool {
        let entry = self.store.get(key);
        !self.owes_syn(key) && entry.is_none_or(|entry| self.out.is_flushed_to(entry.sent_to))
    }

    /// Waits until the connection has taken all frames of the stream, or never will.
    pub(crate) fn poll_sent(&self, key: Key) -> Poll<Result<(), StreamError>> {
        let is_sent = self.is_sent(key);
        let error = match self.write_error(key) {
            // A stream that both ends have finished has no error of its own when the session ends.
            None | Some(StreamError::WriteClosed) if self.has_ended() && !is_sent => {
                self.stream_error(State::Open)
            }
            None | Some(StreamError::WriteClosed) => None,
            // The frames were taken before the reset, which a later read or write reports.
            Some(StreamError::Refused | StreamError::Reset) if is_sent => None,
            error => error,
        };
        match error {
            Some(error) => Poll::Ready(Err(error)),
            None if is_sent => Poll::Ready(Ok(())),
            None => Poll::Pending,
        }
    }

    /// Waits for the end of the stream: `Ok` if both ends have finished it.
    pub(crate) fn poll_stream_closed(&self, key: Key) -> Poll<Result<(), StreamError>> {
        let Some(entry) = self.store.get(key) else {
            return Poll::Ready(Err(StreamError::Closed));
        };
        match self.stream_error(entry.state) {
            Some(error) => Poll::Ready(Err(error)),
            None if entry.state.is_over() => Poll::Ready(Ok(())),
            None => Poll::Pending,
        }
    }

    /// Ends both directions at once: reads and writes of both ends fail.
    pub(crate) fn reset(&mut self, key: Key) {
        let is_live = self.store.find(key.id) == Some(key);
        if is_live && !self.is_over() {
            self.reset_stream(key, ResetBy::Local);
        }
    }

    pub(super) fn reset_stream(&mut self, key: Key, by: ResetBy) {
        let Some(entry) = self.store.get_mut(key) else {
            return;
        };
        entry.state.reset(by);
        entry.eof = false;
        let is_known = entry.handshake != Handshake::SynDue;
        // Without ACK a reset is a refusal, and a stream that was not accepted gets none.
        let flags = entry.take_flags().with(Flags::RST);
        self.drop_unread(key);
        if is_known {
            self.push_frame(Header::window_update(key.id, flags, 0));
        }
        self.notify(key);
        self.remove_id(key);
    }

    /// The handle was dropped. Written bytes are delivered, then FIN; unread bytes are dropped. A
    /// stream that never sent anything sends nothing.
    pub(crate) fn handle_dropped(&mut self, key: Key, now: impl FnOnce() -> Instant) {
        let is_over = self.is_over();
        self.drop_unread(key);
        let Some(entry) = self.store.get_mut(key) else {
            return;
        };
        entry.is_handle_dropped = true;
        if entry.state.is_over() || is_over {
            self.store.remove_id(key);
            self.store.remove(key);
            self.check_invariants();
            return;
        }
        if entry.handshake == Handshake::SynDue {
            entry.state.reset(ResetBy::Local);
            self.remove_id(key);
            return;
        }
        let is_peer_stuck = entry.recv_window.available() == 0 && entry.state.can_recv();
        if let Err(error) = self.finish(key) {
            tracing::trace!(session = self.session, stream = key.id, %error, "dropped a failed stream");
        }
        if is_peer_stuck {
            self.linger_before_reset(key, now);
        } else {
            self.arm_half_closed_timeout(now);
        }
    }
}
