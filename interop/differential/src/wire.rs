//! A connection in memory that takes and gives only a few bytes at a time.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

/// One end of a connection with a capacity, whose reads and writes move at most `chunk` bytes.
#[derive(Debug)]
pub(crate) struct Wire {
    inner: DuplexStream,
    chunk: usize,
}

/// Both ends of a connection.
pub(crate) fn wire(capacity: usize, chunk: usize) -> (Wire, Wire) {
    let (near, far) = tokio::io::duplex(capacity);
    (Wire { inner: near, chunk }, Wire { inner: far, chunk })
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let limit = self.chunk.min(buffer.remaining());
        let mut part = ReadBuf::new(&mut buffer.initialize_unfilled()[..limit]);
        let result = Pin::new(&mut self.inner).poll_read(cx, &mut part);
        let count = part.filled().len();
        buffer.advance(count);
        result
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = buffer.len().min(self.chunk);
        Pin::new(&mut self.inner).poll_write(cx, &buffer[..count])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
