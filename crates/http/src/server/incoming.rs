//! A request as the service receives it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Method, Version};
use tokio::io::{AsyncRead, AsyncWrite};

use super::RequestBody;
use super::arriving::{Sender, channel};
use crate::syntax::Framing;
use crate::syntax::head::RequestHead;
use crate::wire::{BodyReader, ReadError, Reader};

/// The interim response that a client waits for before it sends its body (RFC 9110, section 10.1.1).
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The facts of a request that decide how its response is sent.
pub(super) struct RequestFacts {
    pub(super) method: Method,
    pub(super) version: Version,
    /// `true` if the client keeps the connection open.
    pub(super) is_persistent: bool,
}

/// The part of a request that has not been read.
pub(super) struct Incoming {
    /// `None` if all of the body was in the reader.
    body: Option<Arriving>,
}

struct Arriving {
    reader: BodyReader,
    sender: Sender,
    /// The part of [`CONTINUE`] that is not written yet; empty if the client does not wait for it.
    interim: &'static [u8],
    has_ended: bool,
}

impl Incoming {
    /// Splits a head into the request for the service and the part of the body that is still to be read.
    pub(super) fn new(
        head: RequestHead,
        reader: &mut Reader,
    ) -> (http::Request<RequestBody>, Self, RequestFacts) {
        let facts = RequestFacts {
            method: head.method.clone(),
            version: head.version,
            is_persistent: head.is_persistent,
        };
        let len = match head.framing {
            Framing::Length(len) => Some(len),
            Framing::Chunked | Framing::UntilClose => None,
        };
        let (body, incoming) = match len {
            Some(0) => (RequestBody::default(), Self { body: None }),
            Some(len) if len <= reader.unread().len() as u64 => {
                // It lies in memory, so it fits.
                (
                    RequestBody::full(reader.take(len as usize, true)),
                    Self { body: None },
                )
            }
            len => {
                let (sender, receiver) = channel(len);
                let arriving = Arriving {
                    reader: BodyReader::new(head.framing),
                    sender,
                    interim: if head.expects_continue && reader.is_empty() {
                        CONTINUE
                    } else {
                        b""
                    },
                    has_ended: false,
                };
                (
                    RequestBody::arriving(receiver),
                    Self {
                        body: Some(arriving),
                    },
                )
            }
        };
        let mut request = http::Request::new(body);
        *request.method_mut() = head.method;
        *request.uri_mut() = head.target;
        *request.version_mut() = head.version;
        *request.headers_mut() = head.headers;
        (request, incoming, facts)
    }

    /// Returns `true` if the service waits for a piece of the body. If not, the task is woken when it
    /// does.
    pub(super) fn is_wanted(&self, cx: &mut Context<'_>) -> bool {
        let Some(body) = &self.body else { return false };
        !body.has_ended && body.sender.poll_wanted(cx).is_ready()
    }

    /// Reads the next piece and hands it to the service.
    pub(super) fn poll_piece<I>(
        &mut self,
        io: &mut I,
        reader: &mut Reader,
        cx: &mut Context<'_>,
    ) -> Poll<()>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let Some(body) = &mut self.body else {
            return Poll::Ready(());
        };
        let piece = ready!(body.poll_read(io, reader, cx))
            .map_err(Into::into)
            .transpose();
        body.has_ended = !matches!(piece, Some(Ok(_)));
        body.sender.send(piece);
        Poll::Ready(())
    }

    /// Fails the body, and so the request of a service that reads it.
    pub(super) fn fail(&mut self, reason: String) {
        if let Some(body) = &mut self.body {
            body.has_ended = true;
            body.sender.send(Some(Err(
                io::Error::new(io::ErrorKind::TimedOut, reason).into()
            )));
        }
    }

    /// Returns `true` if no further byte of the request is expected.
    pub(super) fn has_ended(&self) -> bool {
        self.body.as_ref().is_none_or(|body| body.has_ended)
    }

    /// Returns `true` if all of the request was read, and another may follow it.
    pub(super) fn is_complete(&self) -> bool {
        self.body
            .as_ref()
            .is_none_or(|body| body.reader.is_complete())
    }
}

impl Arriving {
    fn poll_read<I>(
        &mut self,
        io: &mut I,
        reader: &mut Reader,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<bytes::Bytes>>>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        while !self.interim.is_empty() {
            let written = ready!(Pin::new(&mut *io).poll_write(cx, self.interim))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.interim = &self.interim[written..];
            if self.interim.is_empty() {
                // Nothing else follows that would flush it.
                ready!(Pin::new(&mut *io).poll_flush(cx))?;
            }
        }
        let piece = ready!(self.reader.poll_data(reader, io, cx));
        Poll::Ready(piece.map_err(into_io_error))
    }
}

/// Converts the error for the service: by its kind, a malformed body differs from one that was cut
/// off.
fn into_io_error(error: ReadError) -> io::Error {
    match error {
        ReadError::Io(error) => error,
        ReadError::Truncated => io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the connection ended within the request body",
        ),
        ReadError::Syntax(error) => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}
