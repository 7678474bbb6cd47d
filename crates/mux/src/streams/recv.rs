//! The bytes of one stream that have arrived and were not read yet.

use std::{collections::VecDeque, fmt};

use super::Block;
use crate::zeroize::zeroize;

/// The smallest and the largest allocation for arrived bytes.
const MIN_CHUNK: usize = 64;
const MAX_CHUNK: usize = 32 * 1024;

/// From this size on a payload may stay in the block that the connection was read into.
pub(crate) const MIN_ZERO_COPY: usize = 4 * 1024;

/// Unread bytes of a stream: `memory[start..end]`.
struct Chunk {
    memory: Memory,
    start: usize,
    end: usize,
}

enum Memory {
    /// A copy, to which more may be appended.
    Copy(Copied),
    /// A block that the connection was read into.
    Block(Block),
}

/// A copy of bytes that arrived. It is zeroized when it is dropped.
struct Copied(Vec<u8>);

impl Drop for Copied {
    fn drop(&mut self) {
        zeroize(&mut self.0);
    }
}

impl Chunk {
    fn unread(&self) -> &[u8] {
        let bytes = match &self.memory {
            Memory::Copy(Copied(bytes)) => bytes,
            Memory::Block(block) => block.bytes(),
        };
        &bytes[self.start..self.end]
    }

    fn is_copy(&self) -> bool {
        matches!(self.memory, Memory::Copy(_))
    }
}

/// A queue of chunks. Small arrivals share a chunk, so memory stays within about twice the
/// bytes held however small the frames are; an empty queue holds no memory. The memory of bytes that were read
/// is zeroized when the last byte of its chunk was read.
#[derive(Default)]
pub(crate) struct RecvQueue {
    /// The chunk that is read next, apart from the others because most queues never hold a second one.
    head: Option<Chunk>,
    tail: VecDeque<Chunk>,
    /// The number of unread bytes.
    len: usize,
}

impl RecvQueue {
    /// The number of unread bytes.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a copy of bytes.
    #[inline]
    pub(crate) fn push(&mut self, mut bytes: &[u8]) {
        self.len += bytes.len();
        let last = self.tail.back_mut().or(self.head.as_mut());
        let mut size = MIN_CHUNK;
        if let Some(chunk) = last
            && let Memory::Copy(Copied(copy)) = &mut chunk.memory
        {
            size = 2 * copy.capacity();
            let fitting = bytes.split_off(..bytes.len().min(copy.capacity() - copy.len()));
            copy.extend_from_slice(fitting.unwrap_or_default());
            chunk.end = copy.len();
        }
        while !bytes.is_empty() {
            let mut copy = Vec::with_capacity(bytes.len().max(size).min(MAX_CHUNK));
            let fitting = bytes.split_off(..bytes.len().min(copy.capacity()));
            copy.extend_from_slice(fitting.unwrap_or_default());
            self.append(Chunk {
                start: 0,
                end: copy.len(),
                memory: Memory::Copy(Copied(copy)),
            });
        }
    }

    /// Appends bytes without copying them: `block[start..end]`.
    pub(crate) fn push_slice(&mut self, block: &Block, start: usize, end: usize) {
        self.len += end - start;
        self.append(Chunk {
            memory: Memory::Block(block.clone()),
            start,
            end,
        });
    }

    fn append(&mut self, chunk: Chunk) {
        if self.head.is_none() {
            self.head = Some(chunk);
        } else {
            self.tail.push_back(chunk);
        }
    }

    /// The bytes that can be read at once, empty if there are none.
    pub(crate) fn front(&self) -> &[u8] {
        self.head.as_ref().map_or(&[], Chunk::unread)
    }

    /// Removes the first `count` bytes of [`front`](Self::front). Returns a block of the connection when its last byte was
    /// read.
    pub(crate) fn advance(&mut self, count: usize) -> Option<Block> {
        let chunk = self.head.as_mut()?;
        chunk.start += count;
        self.len -= count;
        if chunk.start < chunk.end {
            return None;
        }
        let read = std::mem::replace(&mut self.head, self.tail.pop_front())?;
        if self.tail.is_empty() && self.tail.capacity() > 0 {
            self.tail = VecDeque::new();
        }
        match read.memory {
            Memory::Copy(_) => None,
            Memory::Block(block) => Some(block),
        }
    }

    /// The number of chunks that are slices of a block.
    pub(crate) fn slices(&self) -> usize {
        self.chunks().filter(|chunk| !chunk.is_copy()).count()
    }

    fn chunks(&self) -> impl Iterator<Item = &Chunk> {
        self.head.iter().chain(&self.tail)
    }

    /// The memory of the chunks in bytes.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn capacity(&self) -> usize {
        let copies = self.chunks().map(|chunk| match &chunk.memory {
            Memory::Copy(Copied(copy)) => copy.capacity(),
            Memory::Block(_) => 0,
        });
        let own: usize = copies.sum();
        own + self.tail.capacity() * size_of::<Chunk>()
    }
}

/// Shows the number of bytes and not the bytes: payload may be secret.
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
    fn copies_are_zeroized_when_their_chunk_is_read_or_dropped() {
        let mut queue = RecvQueue::default();
        queue.push(&[1; 50]);
        assert_eq!(zeroized_by(|| drop(queue.advance(20))), 0);
        assert_eq!(zeroized_by(|| drop(queue.advance(30))), 50);
        queue.push(&[1; 40_000]);
        assert_eq!(zeroized_by(move || drop(queue)), 40_000);
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
