//! The blocks that the connection is read into, and the payloads that stay in them.

use std::time::{Duration, Instant};

use super::{Core, ROUND_FRAMES, timing::Timer};
use crate::{
    frame::{HEADER_LEN, MAX_PAYLOAD},
    streams::{Block, Key, MIN_ZERO_COPY},
};

/// The first block is small, because most sessions are mostly idle.
const MIN_BLOCK: usize = 4 * 1024;

/// Blocks double up to this size while the connection fills them. It is the size of the largest write of a peer with
/// this implementation, and a little more: a block that was not filled shows that the connection is empty, without
/// another read.
pub(crate) const MAX_BLOCK: usize = ROUND_FRAMES * (HEADER_LEN + MAX_PAYLOAD) + 4 * 1024;

/// The number of payloads that may stay in blocks. Each keeps at most one block of the largest size, so a peer that
/// arranges its frames badly costs 6.5 MiB more than its windows and no more.
pub(super) const MAX_SLICES: usize = 32;

/// The number of unused blocks that are kept for the next reads.
const MAX_FREE: usize = 2;

/// Up to this size, blocks are zeroized as soon as they were read. More bytes arrive at once only during a large
/// transfer, and then the next read overwrites them.
const ZEROIZED_AT_ONCE: usize = 64 * 1024;

/// The time that bytes which were read may stay in larger blocks.
const ZEROIZE_DELAY: Duration = Duration::from_millis(5);

/// The blocks of one session.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// The size of the blocks that are kept.
    size: usize,
    free: Vec<Block>,
    /// The number of payloads that stay in blocks.
    slices: usize,
}

impl Buffers {
    /// Zeroizes the free blocks.
    pub(super) fn zeroize(&mut self) {
        self.free.iter_mut().for_each(Block::zeroize);
    }

    /// Drops the free blocks, which zeroizes them.
    pub(super) fn clear(&mut self) {
        self.free.clear();
    }
}

impl Core {
    /// A block to read into. The caller returns it with [`give_back`](Self::give_back).
    #[inline]
    pub(crate) fn take_block(&mut self) -> Block {
        let Buffers { size, free, .. } = &mut self.buffers;
        *size = MIN_BLOCK.max(*size);
        free.pop().unwrap_or_else(|| Block::new(*size))
    }

    /// Takes back a block of which `filled` bytes were used. A block that is shared with a stream is recycled when the
    /// stream was read.
    pub(crate) fn give_back(&mut self, block: Block, filled: usize) {
        let len = block.len();
        if filled == len && len < MAX_BLOCK {
            self.buffers.size = (len * 2).min(MAX_BLOCK);
            self.buffers.clear();
        }
        self.recycle(block);
    }

    /// A reader has read the last byte of a payload that stayed in a block.
    pub(super) fn slice_read(&mut self, block: Block) {
        self.buffers.slices -= 1;
        self.recycle(block);
    }

    /// Keeps a block for the next read, unless a stream still uses it or there are enough.
    fn recycle(&mut self, mut block: Block) {
        // Most blocks are shared with further payloads. A session that has ended needs none.
        let is_wanted = !block.is_shared() && block.len() == self.buffers.size && !self.is_over();
        if !is_wanted || self.buffers.free.len() >= MAX_FREE {
            return;
        }
        if block.used() <= ZEROIZED_AT_ONCE {
            block.zeroize();
        } else {
            let deadline = &mut self.deadlines[Timer::Zeroize];
            deadline.get_or_insert(self.now + ZEROIZE_DELAY);
        }
        self.buffers.free.push(block);
    }

    /// The deadline for zeroizing blocks that hold bytes which were read.
    pub(crate) fn zeroize_deadline(&self) -> Option<Instant> {
        self.deadlines[Timer::Zeroize]
    }

    /// Frees the memory of a busy time. Called when a keep-alive ping is due, because the session is idle then.
    pub(super) fn trim_buffers(&mut self) {
        self.buffers.size = MIN_BLOCK;
        self.buffers.clear();
        self.out.trim();
    }

    /// Stores a payload of a stream that is still read: inside its block if it is large, else as a copy.
    /// Returns whether there was one.
    pub(super) fn store_payload(
        &mut self,
        key: Key,
        block: &Block,
        start: usize,
        end: usize,
    ) -> bool {
        let Some(entry) = self.store.get_mut(key) else {
            return false;
        };
        if entry.is_handle_dropped || !entry.state.can_recv() {
            return false;
        }
        self.buffered += end - start;
        if end - start >= MIN_ZERO_COPY && self.buffers.slices < MAX_SLICES {
            entry.recv.push_slice(block, start, end);
            self.buffers.slices += 1;
        } else {
            entry.recv.push(&block.bytes()[start..end]);
        }
        true
    }

    /// Drops the unread bytes of a stream.
    pub(super) fn drop_unread(&mut self, key: Key) {
        let entry = self.store.get_mut(key);
        let Some(entry) = entry.filter(|entry| !entry.recv.is_empty()) else {
            return;
        };
        let recv = std::mem::take(&mut entry.recv);
        self.buffered -= recv.len();
        self.buffers.slices -= recv.slices();
    }
}
