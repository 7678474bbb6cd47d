//! [`Reader`]: a buffer of bytes that were read and not used yet.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};
use zeroize::Zeroize;

/// Capacity for the head and the body of most messages.
const INITIAL: usize = 1024;

/// Capacity for the bytes after a message that left with its buffer: mostly none but the end of the stream.
const AFTERWARDS: usize = 64;

/// Capacity for the parts of a body whose length is not known.
const LARGE: usize = 16 * 1024;

/// A buffer of which `[start, end)` holds the unread bytes.
///
/// ```text
/// 0 ....... start ======== end ....... touched ....... buffer.len()
///   used          unread       free    free, and never written to
/// ```
pub(crate) struct Reader {
    block: Block,
    start: usize,
    end: usize,
}

/// Bytes, of which those that were written to are zeroed in the end. The rest are zeros already.
#[derive(Default)]
struct Block {
    buffer: Vec<u8>,
    touched: usize,
}

impl Block {
    fn new(size: usize) -> Self {
        let spare = (size == INITIAL).then(Self::spare).flatten();
        Self {
            buffer: spare.unwrap_or_else(|| vec![0; size]),
            touched: 0,
        }
    }

    fn spare() -> Option<Vec<u8>> {
        SPARE.try_with(|spare| spare.borrow_mut().pop()).ok()?
    }
}

/// The most buffers that a thread keeps for connections to come.
const MAX_SPARE: usize = 16;

thread_local! {
    /// Zeroed buffers of the initial size: a connection for each request would allocate and clear
    /// two of them each time.
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

impl Drop for Block {
    fn drop(&mut self) {
        self.buffer[..self.touched].zeroize();
        if self.buffer.len() == INITIAL {
            let buffer = std::mem::take(&mut self.buffer);
            // A thread that is ending keeps nothing.
            let _ = SPARE.try_with(|spare| {
                let mut spare = spare.borrow_mut();
                if spare.len() < MAX_SPARE {
                    spare.push(buffer);
                }
            });
        }
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Reader {
    pub(crate) fn new() -> Self {
        Self {
            block: Block::new(INITIAL),
            start: 0,
            end: 0,
        }
    }

    pub(crate) fn unread(&self) -> &[u8] {
        &self.block.buffer[self.start..self.end]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(crate) fn consume(&mut self, bytes: usize) {
        debug_assert!(
            self.start + bytes <= self.end,
            "only unread bytes can be used"
        );
        self.start += bytes;
    }

    /// Reads once, and returns how many bytes came: 0 at the end. A full buffer grows.
    pub(crate) fn poll_fill<I: AsyncRead + Unpin>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
        if self.end == self.block.buffer.len() {
            self.make_room();
        }
        let read = ready!(poll_read(io, &mut self.block.buffer[self.end..], cx))?;
        self.end += read;
        self.block.touched = self.block.touched.max(self.end);
        Poll::Ready(Ok(read))
    }

    /// Makes the buffer large for a body of which most has not arrived.
    pub(crate) fn expect_more(&mut self) {
        if self.block.buffer.len() < LARGE {
            self.move_to(LARGE);
        }
    }

    fn make_room(&mut self) {
        let unread = self.end - self.start;
        let size = self.block.buffer.len();
        if unread > 0 && self.start >= size / 2 {
            self.block.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, unread);
        } else {
            self.move_to(AFTERWARDS.max(2 * size));
        }
    }

    /// Moves the unread bytes to a larger buffer.
    fn move_to(&mut self, size: usize) {
        let unread = self.end - self.start;
        let mut larger = Block::new(size);
        larger.buffer[..unread].copy_from_slice(self.unread());
        larger.touched = unread;
        self.block = larger;
        (self.start, self.end) = (0, unread);
    }

    /// Takes `bytes` unread bytes out. When nothing else is unread, the buffer itself can leave,
    /// without a copy; it does so if it is the `last` time that something is taken.
    pub(crate) fn take(&mut self, bytes: usize, last: bool) -> Bytes {
        let taken = self.start..self.start + bytes;
        self.consume(bytes);
        if last && self.is_empty() {
            (self.start, self.end) = (0, 0);
            return Bytes::from_owner(std::mem::take(&mut self.block)).slice(taken);
        }
        let mut block = Block::new(bytes);
        block.buffer.copy_from_slice(&self.block.buffer[taken]);
        block.touched = bytes;
        Bytes::from_owner(block)
    }
}

/// Reads once into a slice, and returns how many bytes came.
pub(crate) fn poll_read<I: AsyncRead + Unpin>(
    io: &mut I,
    into: &mut [u8],
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(into);
    ready!(Pin::new(io).poll_read(cx, &mut buffer))?;
    Poll::Ready(Ok(buffer.filled().len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spare_buffer_holds_nothing_of_its_last_use() {
        let mut block = Block::new(INITIAL);
        block.buffer[..6].copy_from_slice(b"secret");
        block.touched = 6;
        drop(block);
        let spare = Block::spare().expect("it was kept");
        assert_eq!(spare, vec![0; INITIAL]);
    }

    #[test]
    fn only_some_buffers_are_kept() {
        drop(Vec::from_iter((0..50).map(|_| Block::new(INITIAL))));
        drop(Block::new(AFTERWARDS));
        assert_eq!(SPARE.with(|spare| spare.borrow().len()), MAX_SPARE);
    }
}
