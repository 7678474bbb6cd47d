//! Streams and their halves as I/O objects of tokio, hyper and the futures ecosystem. Writing, flushing and the end of
//! the write side mean the same for all of them.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use super::{ReadHalf, Stream, WriteHalf};

/// Implements a trait for reading into a buffer that keeps count of what was put into it.
macro_rules! impl_read {
    ($trait:path, $buffer:ty, $type:ty) => {
        impl $trait for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                #[allow(unused_mut, reason = "some buffers are passed by value")]
                mut buffer: $buffer,
            ) -> Poll<io::Result<()>> {
                let remaining = buffer.remaining();
                self.stream()
                    .poll_append(cx, remaining, |bytes| buffer.put_slice(bytes))
            }
        }
    };
}

/// Implements a trait for writing. `$end` is its method that ends the write side.
macro_rules! impl_write {
    ($trait:path, $end:ident, $type:ty $(, $is_vectored:ident)?) => {
        /// A flush is ready when the connection has taken what was written, the end when it has taken FIN.
        impl $trait for $type {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: &[u8],
            ) -> Poll<io::Result<usize>> {
                self.stream().poll_write(cx, &[IoSlice::new(buffer)])
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffers: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                self.stream().poll_write(cx, buffers)
            }

            $(fn $is_vectored(&self) -> bool {
                true
            })?

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.stream().poll_flush(cx)
            }

            fn $end(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.stream().poll_shutdown(cx)
            }
        }
    };
}

impl_read!(tokio::io::AsyncRead, &mut tokio::io::ReadBuf<'_>, Stream);
impl_read!(tokio::io::AsyncRead, &mut tokio::io::ReadBuf<'_>, ReadHalf);
impl_write!(
    tokio::io::AsyncWrite,
    poll_shutdown,
    Stream,
    is_write_vectored
);
impl_write!(
    tokio::io::AsyncWrite,
    poll_shutdown,
    WriteHalf,
    is_write_vectored
);

#[cfg(feature = "hyper")]
impl_read!(hyper::rt::Read, hyper::rt::ReadBufCursor<'_>, Stream);
#[cfg(feature = "hyper")]
impl_write!(hyper::rt::Write, poll_shutdown, Stream, is_write_vectored);

/// Implements the trait of the futures ecosystem for reading.
#[cfg(feature = "futures")]
macro_rules! impl_futures_read {
    ($type:ty) => {
        impl futures_io::AsyncRead for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                let mut filled = 0;
                let read = self.stream().poll_append(cx, buffer.len(), |bytes| {
                    buffer[filled..filled + bytes.len()].copy_from_slice(bytes);
                    filled += bytes.len();
                });
                read.map_ok(|()| filled)
            }
        }
    };
}

#[cfg(feature = "futures")]
impl_futures_read!(Stream);
#[cfg(feature = "futures")]
impl_futures_read!(ReadHalf);
#[cfg(feature = "futures")]
impl_write!(futures_io::AsyncWrite, poll_close, Stream);
#[cfg(feature = "futures")]
impl_write!(futures_io::AsyncWrite, poll_close, WriteHalf);
