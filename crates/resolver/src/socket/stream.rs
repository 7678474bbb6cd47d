//! [`DaemonStream`]: a connection to the daemon.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use keyway_http::KeptStream;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::runtime::{Handle, Id};

use crate::fork::OfProcess;

/// A connection to the daemon, which can move to another runtime between requests, and is not used by a forked process.
pub(super) struct DaemonStream {
    stream: OfProcess<UnixStream>,
    /// The runtime whose event queue the stream is registered with.
    runtime: Id,
}

impl DaemonStream {
    /// Must be called on a runtime.
    pub(super) fn new(stream: UnixStream) -> Self {
        Self {
            stream: OfProcess::new(stream),
            runtime: Handle::current().id(),
        }
    }

    fn io(&mut self) -> Pin<&mut UnixStream> {
        Pin::new(self.stream.get_mut())
    }
}

impl KeptStream for DaemonStream {
    /// Reads the state from the kernel, because tokio is notified of an end only while its runtime is polled.
    fn is_idle(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let received = || recv(self.stream.get(), &mut [0_u8; 1], flags);
        self.stream.is_own() && matches!(received(), Err(Errno::AGAIN))
    }

    /// A runtime that used the stream before may have stopped, or may not be polled any more.
    fn resume(mut self) -> io::Result<Self> {
        if self.runtime == Handle::current().id() {
            return Ok(self);
        }
        match self.stream.take() {
            Some(stream) => Ok(Self::new(UnixStream::from_std(stream.into_std()?)?)),
            None => Err(io::Error::other(
                "the connection belongs to another process",
            )),
        }
    }
}

impl fmt::Debug for DaemonStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DaemonStream")
            .field(self.stream.get())
            .finish()
    }
}

impl AsyncRead for DaemonStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.io().poll_read(cx, buffer)
    }
}

impl AsyncWrite for DaemonStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.io().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.get().is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.io().poll_write_vectored(cx, slices)
    }
}
