//! Streams and their halves as I/O objects of tokio, hyper and the futures ecosystem. Writing, flushing and the end of
//! the write side mean the same for all of them.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{ReadHalf, Stream, WriteHalf};
use crate::{driver::State, error::Direction};

/// Implements a trait for reading into a buffer that tracks its filled bytes.
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
                self.poll_append(cx, remaining, |bytes| buffer.put_slice(bytes))
            }
        }
    };
}

/// Implements a trait for writing. `$end` is its method that ends the write side.
macro_rules! impl_write {
    ($trait:path, $end:ident, $type:ty $(, $is_vectored:ident)?) => {
        /// A flush is ready when the connection has taken all written bytes, a shutdown when it has taken FIN as well.
        impl $trait for $type {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: &[u8],
            ) -> Poll<io::Result<usize>> {
                <Self as $trait>::poll_write_vectored(self, cx, &[IoSlice::new(buffer)])
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffers: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                self.poll(cx, Direction::Write, |state, key| {
                    state.poll_write(key, buffers)
                })
            }

            $(fn $is_vectored(&self) -> bool {
                true
            })?

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.poll(cx, Direction::Write, State::poll_flush)
            }

            fn $end(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.poll(cx, Direction::Write, State::poll_shutdown)
            }
        }
    };
}

impl_read!(AsyncRead, &mut ReadBuf<'_>, Stream);
impl_read!(AsyncRead, &mut ReadBuf<'_>, ReadHalf);
impl_write!(AsyncWrite, poll_shutdown, Stream, is_write_vectored);
impl_write!(AsyncWrite, poll_shutdown, WriteHalf, is_write_vectored);

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
                let mut buffer = ReadBuf::new(buffer);
                let read = AsyncRead::poll_read(self, cx, &mut buffer);
                read.map_ok(|()| buffer.filled().len())
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
