//! The blocks that the connection is read into, and which payloads may stay in them.

use super::{BURST, Core};
use crate::{
    frame::{HEADER_LEN, MAX_PAYLOAD},
    streams::{Block, Key, MIN_LENT},
    wipe::wipe,
};

/// The first block is small, because most sessions are mostly idle.
const MIN_BLOCK: usize = 4 * 1024;

/// Blocks double up to this size while the connection fills them. It is that of the largest write of
/// a peer like us, so that its frames arrive whole.
pub(crate) const MAX_BLOCK: usize = BURST * (HEADER_LEN + MAX_PAYLOAD);

/// How many payloads may keep their blocks. Each keeps at most one block of 64 KiB, so a peer that
/// arranges its frames badly costs 4 MiB more than its windows and no more.
const MAX_LENT: usize = 64;

/// How many unused blocks are kept for the next reads.
const MAX_SPARE: usize = 4;

/// The blocks of one session.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    size: usize,
    spare: Vec<Block>,
    /// How many payloads of all streams are in blocks.
    lent: usize,
}

impl Buffers {
    /// Keeps a block for the next read, wiped, unless somebody still uses it or there are enough.
    fn keep(&mut self, mut block: Block, used: usize) {
        if block.bytes().len() != self.size || self.spare.len() >= MAX_SPARE {
            return;
        }
        if let Some(bytes) = block.unique() {
            wipe(&mut bytes[..used]);
            self.spare.push(block);
        }
    }
}

impl Core {
    /// A zeroed block to read into. It comes back with [`give_back`](Self::give_back).
    pub(crate) fn take_block(&mut self) -> Block {
        let buffers = &mut self.buffers;
        buffers.size = buffers.size.max(MIN_BLOCK);
        buffers
            .spare
            .pop()
            .unwrap_or_else(|| Block::new(buffers.size))
    }

    /// Takes back a block of which `filled` bytes were used, unless a stream has part of it: then
    /// the stream's reader gives it back.
    pub(crate) fn give_back(&mut self, block: Block, filled: usize) {
        let len = block.bytes().len();
        if filled == len && len < MAX_BLOCK {
            self.buffers.size = (len * 2).min(MAX_BLOCK);
            self.buffers.spare.clear();
        }
        self.buffers.keep(block, filled);
    }

    /// Gives the memory of a burst back. Called at keep-alive time, when a session looks idle.
    pub(super) fn trim_buffers(&mut self) {
        self.buffers.size = MIN_BLOCK;
        self.buffers.spare.clear();
        self.out.trim();
    }

    /// Stores a payload of a stream: inside its block if it is large, else as a copy.
    pub(super) fn store_payload(&mut self, key: Key, block: &Block, start: usize, end: usize) {
        let Some(entry) = self.store.get_mut(key) else {
            return;
        };
        self.buffered += end - start;
        if end - start >= MIN_LENT && self.buffers.lent < MAX_LENT {
            entry.recv.lend(block, start, end);
            self.buffers.lent += 1;
        } else {
            entry.recv.push(&block.bytes()[start..end]);
        }
    }

    /// A reader has read the last byte of a payload in a block.
    pub(super) fn payload_read(&mut self, block: Block) {
        self.buffers.lent -= 1;
        // How much of it was filled is not known any more; all of it is wiped.
        let len = block.bytes().len();
        self.buffers.keep(block, len);
    }

    /// Drops the unread bytes of a stream.
    pub(super) fn drop_unread(&mut self, key: Key) {
        let Some(entry) = self.store.get_mut(key) else {
            return;
        };
        let recv = std::mem::take(&mut entry.recv);
        self.buffered -= recv.len();
        self.buffers.lent -= recv.lent();
    }
}
