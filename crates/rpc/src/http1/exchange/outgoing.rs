//! [`Outgoing`]: a request on its way.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::Uri;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http_body::Body as _;
use hyper::rt::Write;
use zeroize::Zeroizing;

use crate::{Body, BoxError};

/// A body up to this size is copied behind the head, so that both leave in one write.
const COPY_LIMIT: usize = 4 * 1024;

/// A request in the order in which it leaves: what is buffered, then the current chunk, then the
/// rest of the body.
pub(super) struct Outgoing {
    buffer: Zeroizing<Vec<u8>>,
    /// How much of `buffer` has left.
    sent: usize,
    chunk: Bytes,
    body: Body,
    framing: Framing,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length {
        remaining: u64,
    },
    /// The end of a chunk is written with the beginning of the next.
    Chunked {
        started: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// There is more of the body.
    Body,
    /// Everything is buffered.
    Flush,
    Done,
    /// The peer does not read any more, or the body failed; nothing else is written.
    Failed,
}

/// Why a request could not be sent.
pub(super) enum SendError {
    /// Its own body failed.
    Body(BoxError),
    /// The peer does not take it, though it may still say why.
    Io(io::Error),
}

impl From<io::Error> for SendError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Outgoing {
    pub(super) fn new(request: http::Request<Body>) -> Self {
        let (parts, body) = request.into_parts();
        let framing = match body.size_hint().exact() {
            Some(remaining) => Framing::Length { remaining },
            None => Framing::Chunked { started: false },
        };
        let mut buffer = Vec::with_capacity(capacity(&parts, framing));
        write_head(&mut buffer, &parts, framing);
        Self {
            buffer: Zeroizing::new(buffer),
            sent: 0,
            chunk: Bytes::new(),
            body,
            framing,
            state: State::Body,
        }
    }

    /// Writes as much as the peer takes; ready when all has left.
    ///
    /// # Errors
    ///
    /// The connection or the body failed; told once, and then it is done.
    pub(super) fn poll_send<I: Write + Unpin>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        let result = ready!(self.try_send(io, cx));
        if result.is_err() {
            self.state = State::Failed;
        }
        Poll::Ready(result)
    }

    fn try_send<I: Write + Unpin>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        loop {
            match self.state {
                State::Done | State::Failed => return Poll::Ready(Ok(())),
                State::Body => {
                    ready!(self.poll_write_if_large(io, cx))?;
                    if self.poll_body(cx)?.is_pending() {
                        // What there is must not wait for what comes.
                        ready!(self.poll_write_all(io, cx))?;
                        return Poll::Pending;
                    }
                }
                State::Flush => {
                    ready!(self.poll_write_all(io, cx))?;
                    self.state = State::Done;
                }
            }
        }
    }

    /// Buffers the next part of the body, behind the head as long as that is small.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        let frame = match self.body.is_end_stream() {
            true => None,
            false => ready!(Pin::new(&mut self.body).poll_frame(cx)),
        };
        match frame {
            None => self.end()?,
            Some(Err(error)) => return Poll::Ready(Err(SendError::Body(error))),
            // Trailers would need the peer's consent, and Connect has none.
            Some(Ok(frame)) => self.push(frame.into_data().unwrap_or_default())?,
        }
        Poll::Ready(Ok(()))
    }

    fn push(&mut self, data: Bytes) -> Result<(), SendError> {
        if data.is_empty() {
            return Ok(());
        }
        match &mut self.framing {
            Framing::Chunked { started } => {
                let end_of_last = if std::mem::replace(started, true) {
                    "\r\n"
                } else {
                    ""
                };
                let size = format!("{end_of_last}{:x}\r\n", data.len());
                self.buffer.extend_from_slice(size.as_bytes());
                self.chunk = data;
            }
            Framing::Length { remaining } => {
                let left = remaining.checked_sub(data.len() as u64);
                *remaining =
                    left.ok_or_else(|| SendError::Body("it is longer than it said".into()))?;
                let fits = self.buffer.len() + data.len() <= self.buffer.capacity();
                match fits {
                    true => self.buffer.extend_from_slice(&data),
                    false => self.chunk = data,
                }
            }
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), SendError> {
        match self.framing {
            Framing::Chunked { started: true } => self.buffer.extend_from_slice(b"\r\n0\r\n\r\n"),
            Framing::Chunked { started: false } => self.buffer.extend_from_slice(b"0\r\n\r\n"),
            Framing::Length { remaining: 0 } => {}
            Framing::Length { .. } => {
                return Err(SendError::Body("it is shorter than it said".into()));
            }
        }
        self.state = State::Flush;
        Ok(())
    }

    /// Small parts wait for those behind them, large ones leave.
    fn poll_write_if_large<I: Write + Unpin>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.chunk.is_empty() && self.buffer.len() - self.sent < COPY_LIMIT {
            return Poll::Ready(Ok(()));
        }
        self.poll_write(io, cx)
    }

    fn poll_write_all<I: Write + Unpin>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_write(io, cx))?;
        Pin::new(io).poll_flush(cx)
    }

    fn poll_write<I: Write + Unpin>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let buffered = &self.buffer[self.sent..];
            let slices = [IoSlice::new(buffered), IoSlice::new(&self.chunk)];
            let written = match (buffered.is_empty(), self.chunk.is_empty()) {
                (true, true) => {
                    self.buffer.clear();
                    self.sent = 0;
                    return Poll::Ready(Ok(()));
                }
                (false, true) => ready!(Pin::new(&mut *io).poll_write(cx, buffered))?,
                (true, false) => ready!(Pin::new(&mut *io).poll_write(cx, &self.chunk))?,
                (false, false) => ready!(Pin::new(&mut *io).poll_write_vectored(cx, &slices))?,
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let from_buffer = written.min(self.buffer.len() - self.sent);
            self.sent += from_buffer;
            self.chunk.advance(written - from_buffer);
        }
    }
}

/// The exact room for head and body, so that the buffer never moves: if it did, it would leave a
/// copy behind.
fn capacity(parts: &http::request::Parts, framing: Framing) -> usize {
    const REQUEST_LINE_AND_LENGTH: usize = 96;
    let fields = parts.headers.iter();
    let fields: usize = fields
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    let authority = parts
        .uri
        .authority()
        .map_or(0, |authority| authority.as_str().len());
    let path = parts
        .uri
        .path_and_query()
        .map_or(0, |path| path.as_str().len());
    let body = match framing {
        Framing::Length { remaining } if remaining <= COPY_LIMIT as u64 => remaining as usize,
        Framing::Length { .. } | Framing::Chunked { .. } => 0,
    };
    REQUEST_LINE_AND_LENGTH + parts.method.as_str().len() + path + authority + fields + body
}

fn write_head(head: &mut Vec<u8>, parts: &http::request::Parts, framing: Framing) {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    put(
        head,
        &[
            parts.method.as_str().as_bytes(),
            b" ",
            path.as_bytes(),
            b" HTTP/1.1\r\n",
        ],
    );
    if !parts.headers.contains_key(HOST) {
        put(head, &[b"host: ", host(&parts.uri).as_bytes(), b"\r\n"]);
    }
    for (name, value) in &parts.headers {
        // How this connection is used and how the body is framed is decided here.
        if ![CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING].contains(name) {
            put(
                head,
                &[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"],
            );
        }
    }
    match framing {
        Framing::Length { remaining: 0 } if parts.method == http::Method::GET => {}
        Framing::Length { remaining } => {
            put(
                head,
                &[
                    b"content-length: ",
                    remaining.to_string().as_bytes(),
                    b"\r\n",
                ],
            );
        }
        Framing::Chunked { .. } => put(head, &[b"transfer-encoding: chunked\r\n"]),
    }
    put(head, &[b"\r\n"]);
}

fn put(head: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        head.extend_from_slice(part);
    }
}

/// The authority without the user information, which has no place in a `host` field.
fn host(uri: &Uri) -> &str {
    let authority = uri
        .authority()
        .map_or("localhost", |authority| authority.as_str());
    authority.rsplit('@').next().unwrap_or(authority)
}
