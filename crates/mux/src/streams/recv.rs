//! The bytes of one stream that have arrived and were not read yet.

use std::{collections::VecDeque, fmt};

use super::Block;
use crate::zeroize::zeroize;

/// The smallest and the largest allocation for arrived bytes.
const MIN_CHUNK: usize = 64;
const MAX_CHUNK: usize = 32 * 1024;

/// From this size on a payload may stay where the socket put it.
pub(crate) const MIN_ZERO_COPY: usize = 4 * 1024;

/// Bytes that were copied together from small arrivals: `start` of them were read.
#[derive(Default)]
struct Copies {
    bytes: Vec<u8>,
    start: usize,
}

impl Drop for Copies {
    fn drop(&mut self) {
        zeroize(&mut self.bytes[self.start..]);
    }
}

/// Some bytes of a stream.
enum Chunk {
    /// Copied from where the socket put them.
    Copied(Copies),
    /// Where the connection put them: the unread range.
    Slice {
        block: Block,
        start: usize,
        end: usize,
    },
}

impl Default for Chunk {
    fn default() -> Self {
        Self::Copied(Copies::default())
    }
}

impl Chunk {
    fn unread(&self) -> &[u8] {
        match self {
            Self::Copied(copies) => &copies.bytes[copies.start..],
            Self::Slice { block, start, end } => &block.bytes()[*start..*end],
        }
    }

    /// Copies as much as fits into the allocation and returns the rest.
    fn fill<'a>(&mut self, arrived: &'a [u8]) -> &'a [u8] {
        let Self::Copied(Copies { bytes, .. }) = self else {
            return arrived;
        };
        let (fitting, rest) = arrived.split_at(arrived.len().min(bytes.capacity() - bytes.len()));
        bytes.extend_from_slice(fitting);
        rest
    }

    fn capacity(&self) -> usize {
        match self {
            Self::Copied(copies) => copies.bytes.capacity(),
            Self::Slice { .. } => 0,
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Copied(Copies { bytes, start }) => {
                zeroize(&mut bytes[*start..*start + count]);
                *start += count;
            }
            Self::Slice { start, .. } => *start += count,
        }
    }
}

/// A queue of chunks. Small arrivals share a chunk, so memory stays within about twice the
/// bytes held however small the frames are; an empty queue holds no memory. What was read
/// is zeroized.
#[derive(Default)]
pub(crate) struct RecvQueue {
    /// What is read next. Apart from the others, because most queues never hold a second one.
    head: Chunk,
    tail: VecDeque<Chunk>,
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

    /// Appends a copy of bytes.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) {
        self.len += bytes.len();
        bytes = self.last().fill(bytes);
        while !bytes.is_empty() {
            let capacity = bytes.len().max(self.last().capacity() * 2);
            let mut chunk = Chunk::Copied(Copies {
                bytes: Vec::with_capacity(capacity.clamp(MIN_CHUNK, MAX_CHUNK)),
                start: 0,
            });
            bytes = chunk.fill(bytes);
            self.append(chunk);
        }
    }

    /// Appends bytes where they are: `block[start..end]`.
    pub(crate) fn push_slice(&mut self, block: &Block, start: usize, end: usize) {
        self.len += end - start;
        self.append(Chunk::Slice {
            block: block.clone(),
            start,
            end,
        });
    }

    fn last(&mut self) -> &mut Chunk {
        self.tail.back_mut().unwrap_or(&mut self.head)
    }

    fn append(&mut self, chunk: Chunk) {
        if self.tail.is_empty() && self.head.unread().is_empty() {
            self.head = chunk;
        } else {
            self.tail.push_back(chunk);
        }
    }

    /// The bytes that can be read at once, empty if there are none.
    pub(crate) fn front(&self) -> &[u8] {
        self.head.unread()
    }

    /// Takes `count` bytes from the front of what [`front`](Self::front) returned. Gives a block
    /// back when its last byte was read.
    pub(crate) fn advance(&mut self, count: usize) -> Option<Block> {
        self.head.advance(count);
        self.len -= count;
        if !self.head.unread().is_empty() {
            return None;
        }
        let next = self.tail.pop_front().unwrap_or_default();
        if self.tail.is_empty() && self.tail.capacity() > 0 {
            self.tail = VecDeque::new();
        }
        match std::mem::replace(&mut self.head, next) {
            Chunk::Slice { block, .. } => Some(block),
            Chunk::Copied(_) => None,
        }
    }

    /// How often blocks are kept.
    pub(crate) fn slices(&self) -> usize {
        let chunks = std::iter::once(&self.head).chain(&self.tail);
        chunks
            .filter(|chunk| matches!(chunk, Chunk::Slice { .. }))
            .count()
    }

    /// How many bytes of memory the chunks take.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn capacity(&self) -> usize {
        let chunks = std::iter::once(&self.head).chain(&self.tail);
        let own: usize = chunks.map(Chunk::capacity).sum();
        own + self.tail.capacity() * size_of::<Chunk>()
    }
}

/// Returns how much there is, never what: payload may be secret.
impl fmt::Debug for RecvQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvQueue")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zeroize::tests::zeroized_by;
    use proptest::prelude::*;

    /// The lengths of the pieces in which everything can be read.
    fn pieces(queue: &mut RecvQueue) -> Vec<usize> {
        let mut lengths = Vec::new();
        while !queue.is_empty() {
            let length = queue.front().len();
            assert!(length > 0, "nothing to read of {queue:?}");
            lengths.push(length);
            queue.advance(length);
        }
        lengths
    }

    #[test]
    fn small_arrivals_share_chunks_that_double() {
        let mut queue = RecvQueue::default();
        for _ in 0..100_000 {
            queue.push(&[1]);
        }
        let mut expected: Vec<usize> = (6..=15).map(|power| 1 << power).collect();
        expected.push(32 * 1024);
        expected.push(100_000 - expected.iter().sum::<usize>());
        assert_eq!(pieces(&mut queue), expected);
    }

    #[test]
    fn a_large_arrival_is_cut_into_the_largest_chunks() {
        let mut queue = RecvQueue::default();
        queue.push(&[1; 70_000]);
        assert_eq!(pieces(&mut queue), [32 * 1024, 32 * 1024, 70_000 - 65_536]);
    }

    #[test]
    fn copies_are_zeroized_when_they_are_read_or_dropped() {
        let mut queue = RecvQueue::default();
        queue.push(&[1; 50]);
        assert_eq!(zeroized_by(|| drop(queue.advance(20))), 20);
        assert_eq!(zeroized_by(|| drop(queue.advance(10))), 10);
        queue.push(&[1; 40_000]);
        assert_eq!(zeroized_by(move || drop(queue)), 20 + 40_000);
    }

    #[test]
    fn a_block_is_zeroized_by_its_last_owner() {
        let mut block = Block::new(100);
        block.mark_used(70);
        let mut queue = RecvQueue::default();
        queue.push_slice(&block, 10, 60);
        assert_eq!(zeroized_by(|| block.zeroize()), 0);
        assert_eq!(zeroized_by(|| drop(block)), 0);
        assert_eq!(zeroized_by(|| drop(queue)), 70);
    }

    #[test]
    fn slices_and_copies_are_read_in_their_order() {
        let mut block = Block::new(30_000);
        for (part, byte) in block.unique().unwrap().chunks_mut(10_000).zip(1..) {
            part.fill(byte);
        }
        let mut queue = RecvQueue::default();
        queue.push_slice(&block, 0, 10_000);
        queue.push_slice(&block, 20_000, 30_000);
        queue.push(&[9]);
        queue.push_slice(&block, 10_000, 20_000);
        assert_eq!((queue.len(), queue.slices()), (30_001, 3));
        let mut firsts = Vec::new();
        while !queue.is_empty() {
            let (first, len) = (queue.front()[0], queue.front().len());
            firsts.push((first, len));
            if len > 1 {
                assert!(queue.advance(len - 1).is_none());
            }
            assert_eq!(queue.advance(1).is_some(), first != 9);
        }
        let expected = [(1, 10_000), (3, 10_000), (9, 1), (2, 10_000)];
        assert_eq!(firsts, expected);
        assert_eq!(queue.slices(), 0);
    }

    #[test]
    fn debug_output_shows_no_payload() {
        let mut queue = RecvQueue::default();
        queue.push(b"secret");
        queue.push_slice(&Block::new(33), 0, 11);
        assert_eq!(format!("{queue:?}"), "RecvQueue { len: 17, .. }");
    }

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
        assert_eq!(pieces(&mut queue).len(), 4);
        assert_eq!(queue.capacity(), 0);
        assert_eq!(queue.front(), b"");
    }

    #[test]
    fn a_block_comes_back_with_its_last_byte() {
        let mut block = Block::new(100);
        block.unique().unwrap().fill(7);
        let (mut near, mut far) = (RecvQueue::default(), RecvQueue::default());
        near.push_slice(&block, 0, 40);
        far.push_slice(&block, 40, 100);
        assert_eq!((near.slices(), far.slices()), (1, 1));
        assert!(block.unique().is_none());
        drop(block);
        assert!(near.advance(10).is_none());
        assert_eq!(near.front(), [7; 30]);
        let mut back = near.advance(30).unwrap();
        assert!(back.unique().is_none(), "the other stream still reads it");
        drop(back);
        back = far.advance(60).unwrap();
        assert_eq!(back.unique().unwrap().len(), 100);
        assert_eq!((near.slices(), far.slices()), (0, 0));
    }

    proptest! {
        #[test]
        fn pulled_bytes_are_the_pushed_ones(
            steps in prop::collection::vec((0usize..5000, any::<bool>(), 0usize..5000), 0..60),
        ) {
            let mut queue = RecvQueue::default();
            let (mut next_in, mut next_out) = (0u8, 0u8);
            for (push, is_zero_copy, pull) in steps {
                let bytes: Vec<u8> = (0..push)
                    .map(|_| { next_in = next_in.wrapping_add(1); next_in })
                    .collect();
                if is_zero_copy && push > 0 {
                    let mut block = Block::new(push + 2);
                    block.unique().unwrap()[1..=push].copy_from_slice(&bytes);
                    queue.push_slice(&block, 1, push + 1);
                } else {
                    queue.push(&bytes);
                }
                let mut left = pull.min(queue.len());
                while left > 0 {
                    let count = queue.front().len().min(left);
                    prop_assert!(count > 0);
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
