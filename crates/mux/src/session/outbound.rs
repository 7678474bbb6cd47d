//! What leaves: the queue of frames, and what is put into it when.

use std::{fmt, io::IoSlice, time::Instant};

use super::{Core, Event, MAX_WAITING_ACKS};
use crate::{
    error::ProtocolError,
    frame::{HEADER_LEN, Header, MAX_PAYLOAD},
    streams::{Handshake, Key},
    wipe::wipe,
};

/// How much memory an empty queue may keep for the next burst.
const KEPT_CAPACITY: usize = 4 * 1024;

/// Encoded frames, in the order in which they leave.
#[derive(Default)]
pub(crate) struct SendQueue {
    bytes: Vec<u8>,
    /// How much of the front has left: `start <= bytes.len()`.
    start: usize,
}

impl SendQueue {
    pub(crate) const fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is to be written next.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The first `count` bytes have left. More than there are is as good as all: a writer that
    /// claims so is wrong, but nothing of ours depends on it.
    pub(crate) fn consume(&mut self, count: usize) {
        let end = self.start + count.min(self.len());
        wipe(&mut self.bytes[self.start..end]);
        self.start = end;
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.bytes.shrink_to(KEPT_CAPACITY);
            self.start = 0;
        } else if self.start >= self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }

    /// Drops everything.
    pub(crate) fn clear(&mut self) {
        self.consume(usize::MAX);
    }
}

/// Says how much there is, never what: payload may be secret.
impl fmt::Debug for SendQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendQueue")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl Drop for SendQueue {
    fn drop(&mut self) {
        wipe(&mut self.bytes);
    }
}

impl Core {
    /// Puts a frame without payload behind everything queued.
    pub(super) fn push_frame(&mut self, header: Header) {
        self.out.push(&header.encode());
    }

    /// Puts a whole data frame behind everything queued.
    pub(super) fn push_data(&mut self, header: Header, payload: &[IoSlice<'_>]) {
        self.out.push(&header.encode());
        let mut left = header.length as usize;
        for slice in payload {
            let part = &slice[..slice.len().min(left)];
            self.out.push(part);
            left -= part.len();
        }
        debug_assert_eq!(left, 0, "a data frame without its payload");
    }

    /// Queues an answer that belongs to no stream.
    ///
    /// # Errors
    ///
    /// The peer asks and asks, but reads nothing.
    pub(super) fn push_reply(&mut self, header: Header) -> Result<(), ProtocolError> {
        let limit = self.config.max_control_replies;
        if self.replies.len() >= limit {
            return Err(ProtocolError::TooManyReplies { limit });
        }
        self.replies.push_back(header.encode());
        Ok(())
    }

    /// Whether there is something that should leave soon. Acknowledgements wait for company.
    pub(crate) fn wants_to_send(&self) -> bool {
        !self.out.is_empty() || !self.replies.is_empty() || self.acks.len() >= MAX_WAITING_ACKS
    }

    /// Moves replies and waiting acknowledgements into the queue, to be called right
    /// before it is written.
    pub(crate) fn stage(&mut self) {
        while !self.acks.is_empty() {
            self.stage_ack();
        }
        self.ack_deadline = None;
        while self.out.len() < self.config.send_queue {
            let Some(reply) = self.replies.pop_front() else {
                break;
            };
            self.out.push(&reply);
        }
    }

    fn stage_ack(&mut self) {
        let Some(key) = self.acks.pop_front() else {
            return;
        };
        let Some(entry) = self.store.get_mut(key) else {
            return;
        };
        if entry.handshake == Handshake::AckDue {
            let flags = entry.take_flags();
            self.push_frame(Header::window_update(key.id, flags, 0));
        }
    }

    /// Whether a data frame may join the queue without waiting in line.
    pub(super) fn has_room(&self) -> bool {
        self.line.is_empty() && self.out.len() < self.config.send_queue
    }

    /// Lets the stream wait for a turn to write.
    pub(super) fn stand_in_line(&mut self, key: Key) {
        if let Some(entry) = self.store.get_mut(key)
            && !entry.in_line
        {
            entry.in_line = true;
            self.line.push_back(key);
        }
    }

    /// Calls as many waiting writers as the queue has room for, first come, first served.
    pub(crate) fn call_writers(&mut self) {
        let room = self.config.send_queue.saturating_sub(self.out.len());
        for _ in 0..room.div_ceil(MAX_PAYLOAD + HEADER_LEN) {
            let Some(key) = self.line.pop_front() else {
                break;
            };
            if let Some(entry) = self.store.get_mut(key) {
                entry.in_line = false;
                entry.has_turn = true;
                self.events.push_back(Event::Writable(key));
            }
        }
    }

    /// Whether writers wait although the queue has room: one who was called may never come, so
    /// the next must be called without waiting for bytes to leave.
    pub(crate) fn owes_a_turn(&self) -> bool {
        !self.line.is_empty() && self.out.len() < self.config.send_queue
    }

    /// The connection takes nothing at the moment.
    pub(crate) fn stalled(&mut self, now: Instant) {
        if self.write_deadline.is_none() {
            self.write_deadline = Some(now + self.config.write_timeout);
        }
    }

    /// The connection took bytes.
    pub(crate) fn progressed(&mut self) {
        self.write_deadline = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_order_whatever_the_connection_takes() {
        let mut queue = SendQueue::default();
        let mut sent = Vec::new();
        for round in 0u8..50 {
            queue.push(&[round; 100]);
            let count = usize::from(round) * 7 % 130;
            let count = count.min(queue.len());
            sent.extend_from_slice(&queue.bytes()[..count]);
            queue.consume(count);
        }
        sent.extend_from_slice(queue.bytes());
        queue.clear();
        let expected: Vec<u8> = (0u8..50).flat_map(|round| [round; 100]).collect();
        assert_eq!(sent, expected);
        assert!(queue.is_empty());
    }

    #[test]
    fn m13_a_connection_that_claims_too_much_does_no_harm() {
        let mut queue = SendQueue::default();
        queue.push(b"abc");
        queue.consume(usize::MAX);
        assert!(queue.is_empty());
        queue.push(b"def");
        assert_eq!(queue.bytes(), b"def");
    }

    #[test]
    fn an_empty_queue_gives_memory_back() {
        let mut queue = SendQueue::default();
        queue.push(&[0; 100_000]);
        queue.consume(100_000);
        assert!(queue.bytes.capacity() <= KEPT_CAPACITY);
    }
}
