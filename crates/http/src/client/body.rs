//! [`ExchangeBody`]: the body of a response, and the end of its connection.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};

use super::error::ExchangeError;
use crate::BoxError;
use crate::syntax::head::ResponseHead;
use crate::wire::{BodyReader, Reader, Writer};

/// The body of a response, which keeps its connection going.
pub struct ExchangeBody<I, B: Body> {
    /// Gone when everything was read.
    connection: Option<Connection<I, B>>,
    reader: BodyReader,
}

struct Connection<I, B: Body> {
    io: I,
    reader: Reader,
    /// A server may answer before it has read the whole request.
    writer: Writer<B>,
}

impl<I, B> ExchangeBody<I, B>
where
    I: AsyncRead + AsyncWrite + Unpin,
    B: Body<Error: Into<BoxError>> + Unpin,
{
    /// The response with this head, whose body is still to be read.
    pub(super) async fn response(
        head: ResponseHead,
        io: I,
        reader: Reader,
        writer: Writer<B>,
    ) -> http::Response<Self> {
        let connection = Connection { io, reader, writer };
        let mut body = Self {
            connection: Some(connection),
            reader: BodyReader::new(head.framing),
        };
        if body.reader.is_complete() {
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
        let data = self
            .reader
            .poll_data(&mut connection.reader, &mut connection.io, cx);
        data.map_err(ExchangeError::from)
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
        if self.reader.is_complete() {
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
        let remaining = self.reader.remaining();
        remaining.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

// Nothing in it is ever pinned in place.
impl<I, B: Body> Unpin for ExchangeBody<I, B> {}

impl<I, B: Body> fmt::Debug for ExchangeBody<I, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExchangeBody").finish_non_exhaustive()
    }
}
