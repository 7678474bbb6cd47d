//! [`Reader`]: bytes that were read and not used yet.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::rt::{Read, ReadBuf};
use zeroize::{Zeroize, Zeroizing};

/// Room for the head and the body of most answers. It is zeroed twice, so it is no larger.
const INITIAL: usize = 1024;

/// A buffer of which `[start, end)` holds what was read and not used yet.
///
/// ```text
/// 0 ....... start ======== end ....... buffer.len()
///   used          unread       free
/// ```
pub(super) struct Reader {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self {
            buffer: vec![0; INITIAL],
            start: 0,
            end: 0,
        }
    }

    pub(super) fn unread(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(super) fn consume(&mut self, bytes: usize) {
        debug_assert!(
            self.start + bytes <= self.end,
            "only unread bytes can be used"
        );
        self.start += bytes;
    }

    /// Reads once, and returns how many bytes came: 0 at the end. A full buffer grows.
    pub(super) fn poll_fill<I: Read + Unpin>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.make_room();
        }
        let read = ready!(poll_read(io, &mut self.buffer[self.end..], cx))?;
        self.end += read;
        Poll::Ready(Ok(read))
    }

    fn make_room(&mut self) {
        let unread = self.end - self.start;
        if self.start >= self.buffer.len() / 2 {
            self.buffer.copy_within(self.start..self.end, 0);
        } else {
            let mut larger = vec![0; 2 * self.buffer.len()];
            larger[..unread].copy_from_slice(self.unread());
            self.buffer.zeroize();
            self.buffer = larger;
        }
        (self.start, self.end) = (0, unread);
    }

    /// Takes `bytes` unread bytes out. When nothing else is unread, and none will be, the buffer
    /// itself leaves, without a copy.
    pub(super) fn take(&mut self, bytes: usize, is_last: bool) -> Bytes {
        let taken = self.start..self.start + bytes;
        self.consume(bytes);
        if is_last && self.is_empty() {
            (self.start, self.end) = (0, 0);
            let buffer = Zeroizing::new(std::mem::take(&mut self.buffer));
            return Bytes::from_owner(buffer).slice(taken);
        }
        Bytes::from_owner(Zeroizing::new(self.buffer[taken].to_vec()))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // What lies beyond was never written to, or is zeroed with the buffer that replaced it.
        self.buffer.zeroize();
    }
}

/// Reads once into a slice, and returns how many bytes came.
pub(super) fn poll_read<I: Read + Unpin>(
    io: &mut I,
    into: &mut [u8],
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(into);
    ready!(Pin::new(io).poll_read(cx, buffer.unfilled()))?;
    Poll::Ready(Ok(buffer.filled().len()))
}
