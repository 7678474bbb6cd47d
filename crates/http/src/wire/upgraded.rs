//! [`Upgraded`]: a byte stream that was switched to another protocol.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::reader::Reader;

/// Any byte stream.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<I: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for I {}

/// A byte stream behind an upgrade. Bytes that arrived behind the head of the last HTTP message are read first.
pub struct Upgraded<I = Box<dyn ByteStream>> {
    /// `None` after all of it was read.
    early: Option<Reader>,
    io: I,
}

impl<I> Upgraded<I> {
    pub(crate) fn new(early: Reader, io: I) -> Self {
        Self {
            early: (!early.is_empty()).then_some(early),
            io,
        }
    }

    /// Returns the stream below. Bytes must not be read from it directly.
    #[must_use]
    pub fn get_ref(&self) -> &I {
        &self.io
    }
}

impl<I> fmt::Debug for Upgraded<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgraded").finish_non_exhaustive()
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Upgraded<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(early) = &mut self.early else {
            return Pin::new(&mut self.io).poll_read(cx, buffer);
        };
        let size = early.unread().len().min(buffer.remaining());
        buffer.put_slice(&early.unread()[..size]);
        early.consume(size);
        if early.is_empty() {
            self.early = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Upgraded<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }
}
