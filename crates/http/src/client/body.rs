//! [`ExchangeBody`]: the body of a response, and the end of its connection.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};

use super::chunked::{Chunked, Step};
use super::error::ExchangeError;
use super::head::{Framing, Head};
use crate::BoxError;
use crate::wire::Writer;
use crate::wire::{Reader, poll_read};
use crate::zeroed::Zeroed;

/// A body, or what is left of it, is read into one buffer of at most this size: whoever collects a
/// body copies nothing up to here. It costs address space, not memory, until the bytes are there.
const MAX_BLOCK: u64 = 1024 * 1024;

/// The body of a response, which keeps its connection going.
pub struct ExchangeBody<I, B: Body> {
    /// Gone when everything was read.
    connection: Option<Connection<I, B>>,
    decoder: Decoder,
}

struct Connection<I, B: Body> {
    io: I,
    reader: Reader,
    /// A server may answer before it has read the whole request.
    writer: Writer<B>,
    /// What is being read beyond the reader's buffer.
    block: Block,
}

/// A buffer for the rest of a body, and how much of it is filled.
#[derive(Default)]
struct Block {
    buffer: Zeroed,
    filled: usize,
}

enum Decoder {
    Length { remaining: u64 },
    Chunked(Chunked),
    UntilClose,
}

impl<I, B> ExchangeBody<I, B>
where
    I: AsyncRead + AsyncWrite + Unpin,
    B: Body<Error: Into<BoxError>> + Unpin,
{
    /// The response with this head, whose body is still to be read.
    pub(super) async fn response(
        head: Head,
        io: I,
        reader: Reader,
        writer: Writer<B>,
    ) -> http::Response<Self> {
        let decoder = match head.framing {
            Framing::Length(remaining) => Decoder::Length { remaining },
            Framing::Chunked => Decoder::Chunked(Chunked::Size),
            Framing::UntilClose => Decoder::UntilClose,
        };
        let connection = Connection {
            io,
            reader,
            writer,
            block: Block::default(),
        };
        let mut body = Self {
            connection: Some(connection),
            decoder,
        };
        if matches!(body.decoder, Decoder::Length { remaining: 0 }) {
            poll_fn(|cx| {
                body.finish(cx);
                Poll::Ready(())
            })
            .await;
        }
        let mut response = http::Response::new(body);
        *response.status_mut() = head.status;
        *response.version_mut() = head.version;
        *response.headers_mut() = head.headers;
        response
    }

    /// Closes the write side and lets the connection go. A peer that does not take even the close
    /// is not waited for; dropping the connection tells it as well.
    fn finish(&mut self, cx: &mut Context<'_>) {
        if let Some(mut connection) = self.connection.take() {
            // The answer is complete; what the close has to say concerns nobody.
            let _ = Pin::new(&mut connection.io).poll_shutdown(cx);
        }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ExchangeError>> {
        let Some(connection) = &mut self.connection else {
            return Poll::Ready(Ok(None));
        };
        // A failed write is not told here: the answer that is being read says more.
        let _ = connection.writer.poll_send(&mut connection.io, cx);
        match &mut self.decoder {
            Decoder::Length { remaining } => connection.poll_length(remaining, cx).map_ok(Some),
            Decoder::Chunked(chunked) => connection.poll_chunked(chunked, cx),
            Decoder::UntilClose => connection.poll_until_close(cx),
        }
    }

    fn is_complete(&self) -> bool {
        match self.decoder {
            Decoder::Length { remaining } => remaining == 0,
            Decoder::Chunked(chunked) => chunked == Chunked::Done,
            Decoder::UntilClose => false,
        }
    }
}

impl<I: AsyncRead + Unpin, B: Body> Connection<I, B> {
    /// The next block of a body with a length, read as far as the block reaches.
    fn poll_length(
        &mut self,
        remaining: &mut u64,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Bytes, ExchangeError>> {
        let size = (*remaining).min(MAX_BLOCK) as usize;
        if self.block.buffer.is_empty() {
            if self.reader.unread().len() >= size {
                *remaining -= size as u64;
                return Poll::Ready(Ok(self.reader.take(size, *remaining == 0)));
            }
            self.block.start(size, &mut self.reader);
        }
        while self.block.filled < size {
            let rest = &mut self.block.buffer[self.block.filled..];
            match ready!(poll_read(&mut self.io, rest, cx))? {
                0 => return Poll::Ready(Err(ExchangeError::Truncated)),
                read => self.block.filled += read,
            }
        }
        *remaining -= size as u64;
        Poll::Ready(Ok(Bytes::from_owner(
            std::mem::take(&mut self.block).buffer,
        )))
    }

    fn poll_chunked(
        &mut self,
        chunked: &mut Chunked,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, ExchangeError>> {
        loop {
            match chunked.advance(&mut self.reader)? {
                Step::Data(size) => return Poll::Ready(Ok(Some(self.reader.take(size, false)))),
                Step::Done => return Poll::Ready(Ok(None)),
                Step::NeedsMore => {
                    if ready!(self.reader.poll_fill(&mut self.io, cx))? == 0 {
                        return Poll::Ready(Err(ExchangeError::Truncated));
                    }
                }
            }
        }
    }

    fn poll_until_close(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, ExchangeError>> {
        if self.reader.is_empty() && ready!(self.reader.poll_fill(&mut self.io, cx))? == 0 {
            return Poll::Ready(Ok(None));
        }
        let size = self.reader.unread().len();
        Poll::Ready(Ok(Some(self.reader.take(size, false))))
    }
}

impl Block {
    /// Makes a buffer of this size and moves to it what was read already.
    fn start(&mut self, size: usize, reader: &mut Reader) {
        let mut buffer = vec![0; size];
        let unread = reader.unread().len();
        buffer[..unread].copy_from_slice(reader.unread());
        reader.consume(unread);
        *self = Self {
            buffer: Zeroed(buffer),
            filled: unread,
        };
    }
}

impl<I, B> Body for ExchangeBody<I, B>
where
    I: AsyncRead + AsyncWrite + Unpin,
    B: Body<Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = ExchangeError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ExchangeError>>> {
        let data = ready!(self.poll_data(cx));
        if self.is_complete() || matches!(data, Ok(None)) {
            self.finish(cx);
        } else if data.is_err() {
            self.connection = None;
        }
        Poll::Ready(data.map(|data| data.map(Frame::data)).transpose())
    }

    fn is_end_stream(&self) -> bool {
        self.connection.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.decoder {
            Decoder::Length { remaining } => SizeHint::with_exact(remaining),
            Decoder::Chunked(_) | Decoder::UntilClose => SizeHint::default(),
        }
    }
}

// Nothing in it is ever pinned in place.
impl<I, B: Body> Unpin for ExchangeBody<I, B> {}

impl<I, B: Body> fmt::Debug for ExchangeBody<I, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExchangeBody").finish_non_exhaustive()
    }
}
