//! Streams as hyper I/O objects.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::AsyncWrite;

use super::Stream;
use crate::copying::pieces;

impl Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let read = self.with(|state, key| {
            state.poll_read(key, cx, |bytes| {
                let count = bytes.len().min(buffer.remaining());
                pieces(&bytes[..count]).for_each(|piece| buffer.put_slice(piece));
                count
            })
        });
        read.map_err(Into::into)
    }
}

impl Write for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(self, cx, buffer)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write_vectored(self, cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Hyper flushes at the end of each poll of a connection, right before it waits in a read
    /// (which sends) or shuts down. So the bytes need not leave here, and the FIN of
    /// a connection that ends can leave together with the last bytes of its response.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(
            self.with(|state, key| state.poll_flush(key, false))
                .map_err(Into::into),
        )
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(self, cx)
    }
}
