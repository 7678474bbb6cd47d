//! A connection in memory that moves few bytes at a time.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

/// One end of a connection. Each read and each write moves at most `chunk` bytes.
#[derive(Debug)]
pub struct Wire {
    inner: DuplexStream,
    chunk: usize,
}

/// Returns both ends of a connection that holds `capacity` bytes in each direction.
pub fn wire(capacity: usize, chunk: usize) -> (Wire, Wire) {
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
        let n_read = part.filled().len();
        buffer.advance(n_read);
        result
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let length = buffer.len().min(self.chunk);
        Pin::new(&mut self.inner).poll_write(cx, &buffer[..length])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
