//! The bytes of one stream that have arrived and were not read yet.

use std::{collections::VecDeque, fmt};

use crate::wipe::wipe;

/// The smallest and the largest allocation for arrived bytes.
const MIN_CHUNK: usize = 64;
const MAX_CHUNK: usize = 32 * 1024;

/// A queue of byte chunks. Small arrivals share a chunk, so memory stays within about twice the
/// bytes held however small the frames are; an empty queue holds no memory. What was read
/// is wiped.
#[derive(Default)]
pub(crate) struct RecvQueue {
    chunks: VecDeque<Vec<u8>>,
    /// How much of the first chunk was read.
    start: usize,
    /// How many bytes are unread.
    len: usize,
}

impl RecvQueue {
    /// How many bytes are waiting.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends bytes.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) {
        self.len += bytes.len();
        if let Some(last) = self.chunks.back_mut() {
            let (fitting, rest) = bytes.split_at(bytes.len().min(last.capacity() - last.len()));
            last.extend_from_slice(fitting);
            bytes = rest;
        }
        while !bytes.is_empty() {
            let previous = self.chunks.back().map_or(0, Vec::capacity);
            let capacity = bytes.len().max(previous * 2).clamp(MIN_CHUNK, MAX_CHUNK);
            let (fitting, rest) = bytes.split_at(bytes.len().min(capacity));
            let mut chunk = Vec::with_capacity(capacity);
            chunk.extend_from_slice(fitting);
            self.chunks.push_back(chunk);
            bytes = rest;
        }
    }

    /// The bytes that can be read at once, empty if there are none.
    pub(crate) fn front(&self) -> &[u8] {
        self.chunks
            .front()
            .map_or(&[], |chunk| &chunk[self.start..])
    }

    /// Takes `count` bytes from the front of what [`front`](Self::front) returned.
    pub(crate) fn advance(&mut self, count: usize) {
        let Some(chunk) = self.chunks.front_mut() else {
            debug_assert_eq!(count, 0, "advanced an empty queue");
            return;
        };
        wipe(&mut chunk[self.start..self.start + count]);
        self.start += count;
        self.len -= count;
        if self.start == chunk.len() {
            self.start = 0;
            self.chunks.pop_front();
            if self.chunks.is_empty() {
                self.chunks = VecDeque::new();
            }
        }
    }

    /// Drops everything and says how much that was.
    pub(crate) fn clear(&mut self) -> usize {
        let len = self.len;
        *self = Self::default();
        len
    }

    /// How many bytes of memory the chunks take.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        let chunks: usize = self.chunks.iter().map(Vec::capacity).sum();
        chunks + self.chunks.capacity() * size_of::<Vec<u8>>()
    }
}

/// Says how much there is, never what: payload may be secret.
impl fmt::Debug for RecvQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvQueue")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

impl Drop for RecvQueue {
    fn drop(&mut self) {
        for chunk in &mut self.chunks {
            wipe(chunk);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_byte_frames_cost_about_twice_their_bytes() {
        let mut queue = RecvQueue::default();
        for _ in 0..256 * 1024 {
            queue.push(&[1]);
        }
        assert_eq!(queue.len(), 256 * 1024);
        assert!(queue.capacity() < 300 * 1024, "{}", queue.capacity());
    }

    #[test]
    fn an_empty_queue_holds_no_memory() {
        let mut queue = RecvQueue::default();
        queue.push(&[1; 100_000]);
        while !queue.is_empty() {
            queue.advance(queue.front().len());
        }
        assert_eq!(queue.capacity(), 0);
        assert_eq!(queue.front(), b"");
    }

    #[test]
    fn clear_says_how_much_was_lost() {
        let mut queue = RecvQueue::default();
        queue.push(&[1; 10]);
        queue.advance(3);
        assert_eq!(queue.clear(), 7);
        assert_eq!((queue.len(), queue.capacity()), (0, 0));
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
            steps in prop::collection::vec((0usize..5000, 0usize..5000), 0..60),
        ) {
            let mut queue = RecvQueue::default();
            let (mut next_in, mut next_out) = (0u8, 0u8);
            for (push, pull) in steps {
                let bytes: Vec<u8> = (0..push)
                    .map(|_| { next_in = next_in.wrapping_add(1); next_in })
                    .collect();
                queue.push(&bytes);
                let mut left = pull.min(queue.len());
                while left > 0 {
                    let count = queue.front().len().min(left);
                    for byte in &queue.front()[..count] {
                        next_out = next_out.wrapping_add(1);
                        prop_assert_eq!(*byte, next_out);
                    }
                    queue.advance(count);
                    left -= count;
                }
                prop_assert_eq!(queue.is_empty(), queue.front().is_empty());
            }
        }
    }
}
