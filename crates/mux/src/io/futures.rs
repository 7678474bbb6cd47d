//! Streams as I/O objects of the futures ecosystem.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use futures_io::{AsyncRead, AsyncWrite};
use tokio::io::AsyncWrite as TokioWrite;

use super::Stream;
use crate::copying::pieces;

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut filled = 0;
        let read = self.with(|state, key| {
            state.poll_read(key, cx, |bytes| {
                let count = bytes.len().min(buffer.len() - filled);
                for piece in pieces(&bytes[..count]) {
                    buffer[filled..filled + piece.len()].copy_from_slice(piece);
                    filled += piece.len();
                }
                count
            })
        });
        read.map_ok(|()| filled).map_err(Into::into)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        TokioWrite::poll_write(self, cx, buffer)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        TokioWrite::poll_write_vectored(self, cx, buffers)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        TokioWrite::poll_flush(self, cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        TokioWrite::poll_shutdown(self, cx)
    }
}
