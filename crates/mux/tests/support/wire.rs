//! An in-memory connection that takes and gives only a few bytes at a time.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

/// One end of a wire with a capacity, whose reads and writes move at most `chunk` bytes.
pub(crate) struct Wire {
    inner: DuplexStream,
    chunk: usize,
}

/// Both ends of a wire.
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
        let limit = self.chunk;
        let mut part = buffer.take(limit);
        let result = Pin::new(&mut self.inner).poll_read(cx, &mut part);
        let count = part.filled().len();
        // The part was initialized by the read into it.
        let bytes = part.filled().to_vec();
        if count > 0 {
            buffer.put_slice(&bytes);
        }
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
