//! The send queue, and the frames that are not data.

use std::{collections::VecDeque, fmt, time::Instant};

use super::{Core, MAX_HANDSHAKES_DUE, OVERSHOOT, timing::Timer};
use crate::{
    copying::pieces,
    error::ProtocolError,
    frame::{HEADER_LEN, Header},
    streams::{Handshake, Key},
    zeroize::zeroize,
};

/// The memory that an empty queue keeps, in bytes.
const KEPT_CAPACITY: usize = 4 * 1024;

/// Encoded frames, in the order in which they are sent.
///
/// A ring, so that neither appending nor removing moves bytes; it keeps its size while the session
/// is busy.
#[derive(Default)]
pub(crate) struct SendQueue {
    bytes: VecDeque<u8>,
    /// The position behind the last byte: the number of bytes that were queued or bypassed the queue so far.
    position: u64,
    /// The position behind the last payload.
    data_end: u64,
    /// The position up to which the connection has taken and flushed bytes.
    flushed: u64,
    /// Payload was dropped instead of being sent.
    has_lost_data: bool,
}

impl SendQueue {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The queued bytes in two parts, of which the second may be empty.
    pub(crate) fn parts(&self) -> (&[u8], &[u8]) {
        self.bytes.as_slices()
    }

    /// Returns `true` if payload may be among the bytes, and not control frames alone.
    pub(crate) fn has_data(&self) -> bool {
        self.data_end > self.taken()
    }

    /// Returns `true` if payload is queued or may be held back by the connection.
    pub(crate) const fn has_unsent_data(&self) -> bool {
        self.data_end > self.flushed
    }

    /// Returns `true` if payload was dropped instead of being sent.
    pub(crate) const fn has_lost_data(&self) -> bool {
        self.has_lost_data
    }

    /// The position up to which the connection has taken bytes.
    fn taken(&self) -> u64 {
        self.position - self.len() as u64
    }

    /// The position behind the last byte.
    pub(crate) const fn position(&self) -> u64 {
        self.position
    }

    /// Returns `true` if the connection has taken and flushed everything before a position.
    pub(crate) const fn is_flushed_to(&self, position: u64) -> bool {
        position <= self.flushed
    }

    /// The connection has taken `count` bytes of data frames that bypassed the queue, which is empty.
    pub(crate) const fn data_bypassed(&mut self, count: usize) {
        self.position += count as u64;
        self.data_end = self.position;
    }

    /// The connection has flushed all bytes that it took.
    pub(crate) fn flushed(&mut self) {
        self.flushed = self.taken();
    }

    /// Appends control frames.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let len = self.len() + bytes.len();
        if len > self.bytes.capacity() {
            self.reallocate(len.max(2 * self.bytes.capacity()));
        }
        self.bytes.extend(bytes);
        self.position += bytes.len() as u64;
    }

    /// Appends parts of data frames.
    pub(crate) fn push_data(&mut self, bytes: &[u8]) {
        pieces(bytes).for_each(|piece| self.push(piece));
        if !bytes.is_empty() {
            self.data_end = self.position;
        }
    }

    /// Moves the bytes to other memory. A growing `VecDeque` would free memory that still contains payload.
    fn reallocate(&mut self, capacity: usize) {
        let mut bytes = VecDeque::with_capacity(capacity);
        let (front, back) = self.bytes.as_mut_slices();
        for part in [front, back] {
            bytes.extend(&*part);
            zeroize(part);
        }
        self.bytes = bytes;
    }

    /// The connection took the first `count` bytes. A larger number than that of the queued bytes is a fault of the
    /// connection and counts as all of them.
    pub(crate) fn consume(&mut self, count: usize) {
        let count = count.min(self.len());
        let (front, back) = self.bytes.as_mut_slices();
        let in_front = count.min(front.len());
        zeroize(&mut front[..in_front]);
        zeroize(&mut back[..count - in_front]);
        self.bytes.drain(..count);
    }

    /// Frees the memory of a busy time.
    pub(crate) fn trim(&mut self) {
        let capacity = self.len().max(KEPT_CAPACITY);
        if self.bytes.capacity() > capacity {
            self.reallocate(capacity);
        }
    }

    /// Drops all bytes. They count as lost, like those that the connection has taken and not flushed.
    pub(crate) fn clear(&mut self) {
        self.has_lost_data |= self.has_unsent_data();
        self.data_end = self.flushed;
        self.consume(self.len());
    }
}

/// Shows the number of bytes and not the bytes: payload may be secret.
impl fmt::Debug for SendQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendQueue")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl Drop for SendQueue {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Core {
    /// Queues a frame without payload.
    pub(super) fn push_frame(&mut self, header: Header) {
        self.out.push(&header.encode());
    }

    /// Queues a response that belongs to no stream.
    ///
    /// # Errors
    ///
    /// Returns [`ProtocolError::TooManyReplies`] if too many wait, because the peer reads none.
    pub(super) fn push_reply(&mut self, header: Header) -> Result<(), ProtocolError> {
        let limit = self.config.max_control_replies;
        if self.replies.len() >= limit {
            return Err(ProtocolError::TooManyReplies { limit });
        }
        self.replies.push_back(header.encode());
        Ok(())
    }

    /// Returns `true` if more bytes are queued than users alone can cause: data up to the limit and its overshoot, and
    /// for each stream ACK or SYN, a window update, FIN and RST. Then the peer provokes frames and reads none.
    pub(super) fn is_flooded(&self) -> bool {
        let streams = self.config.max_streams.saturating_mul(4);
        let frames = self.config.max_control_replies.saturating_add(streams);
        let control = frames.saturating_mul(HEADER_LEN);
        let limit = self.config.send_queue.saturating_add(OVERSHOOT);
        self.out.len() > limit.saturating_add(control)
    }

    /// Returns `true` if there are frames to send now. Acknowledgements wait for other frames.
    pub(crate) fn wants_to_send(&self) -> bool {
        !self.out.is_empty()
            || !self.replies.is_empty()
            || self.has_syn_due
            || self.handshakes_due.len() >= MAX_HANDSHAKES_DUE
    }

    /// Returns `true` if a SYN waits for the data that its stream may be about to send.
    pub(crate) const fn has_syn_due(&self) -> bool {
        self.has_syn_due
    }

    /// Returns `true` if a SYN is the only reason to send: no data is queued.
    pub(crate) fn has_only_syn_due(&self) -> bool {
        self.has_syn_due && !self.out.has_data()
    }

    /// Moves replies and pending handshakes into the queue. Called right before the queue is written.
    pub(crate) fn stage(&mut self) {
        while let Some(key) = self.handshakes_due.pop_front() {
            self.push_handshake(key);
        }
        self.has_syn_due = false;
        self.deadlines[Timer::Ack] = None;
        while self.has_space() {
            let Some(reply) = self.replies.pop_front() else {
                break;
            };
            self.out.push(&reply);
        }
    }

    /// Sends a SYN or an ACK that no other frame has carried.
    pub(super) fn push_handshake(&mut self, key: Key) {
        let Some(entry) = self.store.get_mut(key) else {
            return;
        };
        if matches!(entry.handshake, Handshake::AckDue | Handshake::SynDue) {
            let flags = entry.take_flags();
            self.push_frame(Header::window_update(key.id, flags, 0));
            self.mark_sent(key);
        }
    }

    /// The connection takes nothing at the moment.
    pub(crate) fn stalled(&mut self, now: Instant) {
        self.deadlines[Timer::Write].get_or_insert(now + self.config.write_timeout);
    }

    /// The connection took bytes.
    pub(crate) fn progressed(&mut self) {
        self.deadlines[Timer::Write] = None;
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
            sent.extend(queue.bytes.range(..count));
            queue.consume(count);
        }
        let (front, back) = queue.parts();
        sent.extend_from_slice(front);
        sent.extend_from_slice(back);
        queue.clear();
        let expected: Vec<u8> = (0u8..50).flat_map(|round| [round; 100]).collect();
        assert_eq!(sent, expected);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_queue_has_data_until_it_has_left() {
        let mut queue = SendQueue::default();
        queue.push(b"control");
        queue.push_data(b"");
        assert!(!queue.has_data());
        queue.push_data(b"data");
        queue.consume(10);
        assert!(queue.has_data());
        queue.consume(1);
        assert!(!queue.has_data());
    }

    #[test]
    fn m13_a_count_beyond_the_queue_is_clamped() {
        let mut queue = SendQueue::default();
        queue.push(b"abc");
        queue.consume(usize::MAX);
        assert!(queue.is_empty());
        queue.push(b"def");
        assert_eq!(queue.bytes, b"def");
    }

    #[test]
    fn an_empty_queue_frees_its_memory_on_release() {
        let mut queue = SendQueue::default();
        queue.push(&[0; 100_000]);
        queue.consume(100_000);
        queue.trim();
        assert!(queue.bytes.capacity() <= KEPT_CAPACITY);
    }
}
