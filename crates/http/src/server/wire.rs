//! [`Wire`]: the byte stream of a connection, as hyper reads and writes it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::Activity;
use crate::wire::Reader;

/// A byte stream that begins with what was read from it already, and tells of what passes.
pub(super) struct Wire<I> {
    io: I,
    /// Gone when all of it was read again.
    read: Option<Reader>,
    activity: Arc<Activity>,
}

impl<I> Wire<I> {
    pub(super) fn new(io: I, read: Option<Reader>, activity: Arc<Activity>) -> Self {
        Self { io, read, activity }
    }

    fn wrote(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &result {
            Poll::Ready(Ok(bytes)) => self.activity.bytes_left(*bytes),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.activity.peer_does_not_read(),
        }
        result
    }

    /// Reads again what was read; `false` if there is nothing.
    fn reread(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let Some(read) = &mut self.read else {
            return false;
        };
        let bytes = read.unread().len().min(buffer.remaining());
        buffer.put_slice(&read.unread()[..bytes]);
        read.consume(bytes);
        if read.is_empty() {
            self.read = None;
        }
        bytes > 0
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Wire<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.reread(buffer) {
            self.activity.bytes_came();
            return Poll::Ready(Ok(()));
        }
        let result = Pin::new(&mut self.io).poll_read(cx, buffer);
        // An end is no byte, but nothing is waited for behind it either.
        if result.is_ready() {
            self.activity.bytes_came();
        }
        result
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Wire<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.wrote(result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.io).poll_flush(cx);
        self.wrote(result.map_ok(|()| 0)).map_ok(|_| ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.io).poll_shutdown(cx);
        self.wrote(result.map_ok(|()| 0)).map_ok(|_| ())
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.wrote(result)
    }
}
