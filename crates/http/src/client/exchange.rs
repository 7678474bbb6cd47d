//! One request on one byte stream.
//!
//! The HTTP/1.1 here has none of a general client's queues between a caller and its connection: together with the fresh
//! stream below it, a call must cost hardly more than one on a connection that is kept open. It also allows to zero every buffer of
//! a message.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use http::{Method, StatusCode};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite};

use super::error::ExchangeError;
use crate::BoxError;
use crate::syntax::Limits;
use crate::syntax::head::{ResponseHead, parse_response};
use crate::wire::{Reader, SendError, Writer};

/// The most interim responses before the final one: each is forgotten when it was read, but there must be an end.
const MAX_INTERIM: usize = 100;

/// A byte stream on which a request is sent and a response is received.
pub(super) struct Connection<I, B: Body> {
    pub(super) io: I,
    pub(super) reader: Reader,
    /// A server may respond before it has read the whole request.
    pub(super) writer: Writer<B>,
}

/// The final responses that an exchange accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    Response,
    /// Status 101 as well, also with the version 0.0 if `allows_version_0`.
    Upgrade {
        allows_version_0: bool,
    },
}

/// An exchange without a response.
pub(super) struct Failed<B: Body> {
    pub(super) error: ExchangeError,
    pub(super) kind: FailureKind,
    /// The request.
    pub(super) writer: Writer<B>,
}

/// The meaning of a failed exchange for its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// The stream took no byte of it, so it was not handled.
    NotSent,
    /// The stream took some or all of it and ended before the first byte of a response. It may have been handled.
    Unanswered,
    /// A part of a response arrived, or the request itself failed.
    Broken,
}

/// Sends a request with this method and waits for the head of its response. Ready on an error of the stream, and when
/// the caller stops waiting; there is no timeout here.
pub(super) async fn exchange<I, B>(
    io: I,
    writer: Writer<B>,
    method: &Method,
    expect: Expect,
) -> Result<(ResponseHead, Connection<I, B>), Failed<B>>
where
    I: AsyncRead + AsyncWrite + Unpin,
    B: Body<Error: Into<BoxError>> + Unpin,
{
    let mut connection = Connection {
        io,
        reader: Reader::new(),
        writer,
    };
    let mut heads = Heads {
        method,
        expect,
        interim: 0,
        has_begun: false,
        unsent: None,
    };
    match poll_fn(|cx| connection.poll_head(&mut heads, cx)).await {
        Ok(head) => Ok((head, connection)),
        Err(error) => {
            let kind = match &error {
                _ if heads.has_begun => FailureKind::Broken,
                ExchangeError::Io(_) | ExchangeError::Closed if !connection.writer.has_begun() => {
                    FailureKind::NotSent
                }
                ExchangeError::Io(_) | ExchangeError::Closed => FailureKind::Unanswered,
                _ => FailureKind::Broken,
            };
            Err(Failed {
                error,
                kind,
                writer: connection.writer,
            })
        }
    }
}

/// The heads of the responses to one request.
struct Heads<'a> {
    method: &'a Method,
    expect: Expect,
    /// Number of interim responses that arrived.
    interim: usize,
    /// `true` if a byte of a response came.
    has_begun: bool,
    /// The reason why the peer did not take the request.
    unsent: Option<io::Error>,
}

impl<I, B> Connection<I, B>
where
    I: AsyncRead + AsyncWrite + Unpin,
    B: Body<Error: Into<BoxError>> + Unpin,
{
    /// Sends the request, and reads the head of the final response.
    fn poll_head(
        &mut self,
        heads: &mut Heads<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<ResponseHead, ExchangeError>> {
        match self.writer.poll_send(&mut self.io, cx) {
            Poll::Ready(Err(SendError::Body(error))) => {
                return Poll::Ready(Err(ExchangeError::Body(error)));
            }
            Poll::Ready(Err(SendError::Io(error))) => heads.unsent = Some(error),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        match (ready!(self.poll_response(heads, cx)), heads.unsent.take()) {
            // A peer that stopped reading may have sent the reason. Without a response, the failed write is the reason.
            (Err(ExchangeError::Closed), Some(error)) => Poll::Ready(Err(error.into())),
            (head, _) => Poll::Ready(head),
        }
    }

    fn poll_response(
        &mut self,
        heads: &mut Heads<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<ResponseHead, ExchangeError>> {
        loop {
            if let Some(head) = heads.next(&mut self.reader)? {
                return Poll::Ready(Ok(head));
            }
            if ready!(self.reader.poll_fill(&mut self.io, cx))? == 0 {
                return Poll::Ready(Err(match heads.has_begun {
                    true => ExchangeError::Truncated,
                    false => ExchangeError::Closed,
                }));
            }
            heads.has_begun = true;
        }
    }
}

impl Heads<'_> {
    /// Takes the head of the final response out of the reader; `None` if it has not all arrived.
    fn next(&mut self, reader: &mut Reader) -> Result<Option<ResponseHead>, ExchangeError> {
        let malformed = |reason| ExchangeError::Malformed { reason };
        let allows_version_0 = self.expect
            == Expect::Upgrade {
                allows_version_0: true,
            };
        while !reader.is_empty() {
            let unread = reader.unread();
            let parsed = parse_response(unread, Limits::RESPONSE, self.method, allows_version_0)?;
            let Some((head, size)) = parsed else {
                return Ok(None);
            };
            reader.consume(size);
            match head.status {
                StatusCode::SWITCHING_PROTOCOLS if self.expect == Expect::Response => {
                    return Err(malformed("an upgrade that was not requested"));
                }
                StatusCode::SWITCHING_PROTOCOLS => return Ok(Some(head)),
                status if !status.is_informational() => return Ok(Some(head)),
                _ if self.interim == MAX_INTERIM => {
                    return Err(malformed("too many interim responses"));
                }
                _ => self.interim += 1,
            }
        }
        Ok(None)
    }
}
