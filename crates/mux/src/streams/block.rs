//! The buffers that the socket is read into.

use std::{fmt, iter::repeat_n, sync::Arc};

use crate::zeroize::zeroize;

/// A buffer that the socket is read into. Large payloads are handed to their streams inside of it
/// instead of being copied; it is zeroized and used again when the last of them was read.
#[derive(Clone)]
pub(crate) struct Block {
    memory: Arc<[u8]>,
    /// Bytes behind this position are zero.
    used: usize,
}

impl Block {
    pub(crate) fn new(size: usize) -> Self {
        Self {
            memory: repeat_n(0, size).collect(),
            used: 0,
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.memory
    }

    /// The size in bytes.
    pub(crate) fn len(&self) -> usize {
        self.memory.len()
    }

    /// Returns `true` if another owner shares it.
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.memory) != 1
    }

    /// The bytes for writing, unless a stream still has some of them. A writer reports the bytes that it wrote with
    /// [`mark_used`](Self::mark_used).
    pub(crate) fn unique(&mut self) -> Option<&mut [u8]> {
        // `get_mut` makes the same check at a higher cost, and mostly fails.
        if self.is_shared() {
            return None;
        }
        Arc::get_mut(&mut self.memory)
    }

    /// The first `count` bytes were written.
    pub(crate) fn mark_used(&mut self, count: usize) {
        self.used = self.used.max(count.min(self.len()));
    }

    /// The number of bytes to zeroize.
    pub(crate) const fn used(&self) -> usize {
        self.used
    }

    /// Overwrites the written bytes, unless a stream still has some of them.
    pub(crate) fn zeroize(&mut self) {
        let used = self.used;
        if used > 0
            && let Some(bytes) = self.unique()
        {
            zeroize(&mut bytes[..used]);
            self.used = 0;
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.zeroize();
    }
}

/// Shows the size and not the bytes: payload may be secret.
impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zeroize::tests::zeroized_by;

    #[test]
    fn used_bytes_are_zeroized_once() {
        let mut block = Block::new(100);
        block.mark_used(70);
        block.mark_used(30);
        assert_eq!(block.used(), 70);
        assert_eq!(zeroized_by(|| block.zeroize()), 70);
        assert_eq!(zeroized_by(|| block.zeroize()), 0);
        block.mark_used(1000);
        assert_eq!(block.used(), 100);
        assert_eq!(zeroized_by(|| drop(block)), 100);
    }

    #[test]
    fn only_the_last_owner_may_write() {
        let mut block = Block::new(100);
        block.unique().unwrap().fill(7);
        let mut other = block.clone();
        assert!(block.is_shared() && block.unique().is_none());
        assert!(other.is_shared() && other.unique().is_none());
        drop(block);
        assert!(!other.is_shared());
        assert_eq!(other.unique().unwrap(), [7; 100]);
    }

    #[test]
    fn debug_output_shows_no_payload() {
        let mut block = Block::new(33);
        block.unique().unwrap().fill(b'x');
        assert_eq!(format!("{block:?}"), "Block { len: 33, .. }");
    }
}
