//! [`ExchangeBody`]: the body of a response, and the end of its exchange.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};

use super::error::ExchangeError;
use super::exchange::Connection;
use crate::BoxError;
use crate::syntax::Framing;
use crate::syntax::head::ResponseHead;
use crate::wire::BodyReader;

/// The body of a response, which drives its connection. Dropped before its end, it drops the connection.
pub struct ExchangeBody<I, B: Body> {
    /// `None` once everything was read.
    connection: Option<Connection<I, B>>,
    reader: BodyReader,
    /// `true` if a body that ends with its connection is refused.
    is_refused: bool,
    then: Then<I>,
}

/// The further use of a connection whose response was read to its end.
pub(super) enum Then<I> {
    Close,
    /// The stream is handed back, if it can carry another request.
    Keep(Arc<dyn Keep<I>>),
}

/// Keeps streams for further requests.
pub(super) trait Keep<I>: Send + Sync {
    fn keep(&self, io: I);
}

impl<I, B> ExchangeBody<I, B>
where
    I: AsyncRead + AsyncWrite + Unpin,
    B: Body<Error: Into<BoxError>> + Unpin,
{
    /// Makes the response with this head, whose body is still to be read.
    pub(super) fn response(
        head: ResponseHead,
        connection: Connection<I, B>,
        accepts_close_delimited: bool,
        then: Then<I>,
    ) -> http::Response<Self> {
        let is_unframed = head.framing == Framing::UntilClose;
        let can_be_kept = head.is_persistent && !is_unframed;
        let mut body = Self {
            connection: Some(connection),
            reader: BodyReader::new(head.framing),
            is_refused: is_unframed && !accepts_close_delimited,
            then: if can_be_kept { then } else { Then::Close },
        };
        if body.reader.is_complete() {
            body.finish();
        }
        let mut response = http::Response::new(body);
        *response.status_mut() = head.status;
        *response.version_mut() = head.version;
        *response.headers_mut() = head.headers;
        response
    }

    /// Hands the stream back, or drops it: a drop ends the write half as well, and on a stream of a multiplexer without a
    /// write of its own.
    fn finish(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        if let Then::Keep(keeper) = &self.then
            && connection.writer.is_done()
            && connection.reader.is_empty()
        {
            keeper.keep(connection.io);
        }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ExchangeError>> {
        let Some(connection) = &mut self.connection else {
            return Poll::Ready(Ok(None));
        };
        if self.is_refused {
            return Poll::Ready(Err(ExchangeError::Unframed));
        }
        // A failed write is not reported, because the response that is being read is more specific.
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
            self.finish();
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

// Nothing in it is pinned in place.
impl<I, B: Body> Unpin for ExchangeBody<I, B> {}

impl<I, B: Body> fmt::Debug for ExchangeBody<I, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExchangeBody").finish_non_exhaustive()
    }
}
