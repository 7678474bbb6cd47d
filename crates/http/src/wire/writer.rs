//! [`Writer`]: a request or a response that is being sent.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use http::HeaderMap;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http_body::Body;
use tokio::io::AsyncWrite;

use crate::BoxError;
use crate::zeroed::Zeroed;

/// A body up to this size is copied behind the head, so that both leave in one write.
const COPY_LIMIT: usize = 4 * 1024;

/// A body up to this size is copied if the message may be sent again.
const REPEATABLE_LIMIT: usize = 64 * 1024;

/// A message in the order in which it leaves: the buffer, then the current chunk, then the rest of the body.
pub(crate) struct Writer<B: Body> {
    buffer: Zeroed,
    /// Number of bytes of `buffer` that were sent.
    sent: usize,
    chunk: Option<B::Data>,
    body: B,
    framing: Framing,
    state: State,
    /// Number of bytes that the peer took.
    written: u64,
    /// `true` if it is the peer that does not take more.
    blocked: bool,
    /// `true` if the peer does not read any more.
    is_broken: bool,
    /// `true` if some of the sent bytes are no longer here.
    is_partial: bool,
    /// `true` if the message is done only when the byte stream was flushed.
    flushes: bool,
}

/// The way in which the end of a body is marked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is no body, and no field describes one.
    None,
    Length {
        remaining: u64,
    },
    /// The end of the connection is the end of the body.
    UntilClose,
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
    /// The body failed; nothing else is written.
    Failed,
}

/// Error of sending a message.
pub(crate) enum SendError {
    /// Its own body failed.
    Body(BoxError),
    /// The peer takes no more of it, but may still respond.
    Io(io::Error),
}

impl From<io::Error> for SendError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Framing {
    pub(crate) fn of(body: &impl Body) -> Self {
        match body.size_hint().exact() {
            Some(remaining) => Self::Length { remaining },
            None => Self::Chunked { started: false },
        }
    }
}

impl<B> Writer<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    /// Creates a message whose head begins with the lines in `start`, each with its CRLF. The fields about the use of this
    /// connection and the framing of the body are written here alone.
    pub(crate) fn new(start: &[&[u8]], headers: &HeaderMap, body: B, framing: Framing) -> Self {
        Self::with_copy_limit(COPY_LIMIT, start, headers, body, framing)
    }

    /// As [`new`](Self::new), for a message that may be sent again, as long as its body has at most 64 KiB
    /// and a length.
    pub(crate) fn repeatable(
        start: &[&[u8]],
        headers: &HeaderMap,
        body: B,
        framing: Framing,
    ) -> Self {
        Self::with_copy_limit(REPEATABLE_LIMIT, start, headers, body, framing)
    }

    fn with_copy_limit(
        copy_limit: usize,
        start: &[&[u8]],
        headers: &HeaderMap,
        body: B,
        framing: Framing,
    ) -> Self {
        let mut buffer = Vec::with_capacity(capacity(copy_limit, start, headers, framing));
        put(&mut buffer, start);
        for (name, value) in headers {
            if ![CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING].contains(name) {
                let field = [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"];
                put(&mut buffer, &field);
            }
        }
        put_framing(&mut buffer, framing);
        Self {
            buffer: Zeroed(buffer),
            sent: 0,
            chunk: None,
            body,
            framing,
            state: match framing {
                Framing::None => State::Flush,
                Framing::Length { .. } | Framing::UntilClose | Framing::Chunked { .. } => {
                    State::Body
                }
            },
            written: 0,
            blocked: false,
            is_broken: false,
            is_partial: false,
            flushes: true,
        }
    }

    /// Leaves the flush behind the last byte to the next use or the drop of the byte stream.
    #[cfg(feature = "server")]
    pub(crate) fn without_flush(mut self) -> Self {
        self.flushes = false;
        self
    }

    /// Returns `true` if all of the message was sent.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Returns `true` if the peer took a byte.
    pub(crate) fn has_begun(&self) -> bool {
        self.written > 0
    }

    /// Prepares the message for another connection; `false` if a part of it is gone.
    pub(crate) fn restart(&mut self) -> bool {
        if self.state == State::Failed || self.is_partial {
            return false;
        }
        if self.state == State::Done {
            self.state = State::Flush;
        }
        (self.sent, self.written) = (0, 0);
        (self.blocked, self.is_broken) = (false, false);
        true
    }

    /// Returns how many bytes the peer took, if it is the peer that is waited for and not the body.
    #[cfg(feature = "server")]
    pub(crate) fn blocked_at(&self) -> Option<u64> {
        self.blocked.then_some(self.written)
    }

    /// Writes as much as the peer takes; ready when all has left.
    ///
    /// # Errors
    ///
    /// Returns [`SendError`] if the connection or the body failed, once; the writer is done then.
    pub(crate) fn poll_send<I: AsyncWrite + Unpin>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        self.blocked = false;
        if self.is_broken {
            return Poll::Ready(Ok(()));
        }
        let result = ready!(self.try_send(io, cx));
        match &result {
            Ok(()) => {}
            Err(SendError::Io(_)) => self.is_broken = true,
            Err(SendError::Body(_)) => self.state = State::Failed,
        }
        Poll::Ready(result)
    }

    fn try_send<I: AsyncWrite + Unpin>(
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
                        // Available bytes must not wait for later ones.
                        ready!(self.poll_write_all(io, cx))?;
                        return Poll::Pending;
                    }
                }
                State::Flush => {
                    ready!(match self.flushes {
                        true => self.poll_write_all(io, cx),
                        false => self.poll_write(io, cx),
                    })?;
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
            Some(Err(error)) => return Poll::Ready(Err(SendError::Body(error.into()))),
            Some(Ok(frame)) => {
                // Trailers would need the peer's consent, and Connect has none.
                if let Ok(data) = frame.into_data() {
                    self.push(data)?;
                }
                // The end follows the chunk, which must have left before anything else is buffered.
                if self.chunk.is_none() && self.body.is_end_stream() {
                    self.end()?;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn push(&mut self, mut data: B::Data) -> Result<(), SendError> {
        let size = data.remaining();
        if size == 0 {
            return Ok(());
        }
        match &mut self.framing {
            Framing::None => {}
            Framing::UntilClose => self.chunk = Some(data),
            Framing::Chunked { started } => {
                let end_of_last = if std::mem::replace(started, true) {
                    "\r\n"
                } else {
                    ""
                };
                let line = format!("{end_of_last}{size:x}\r\n");
                self.buffer.extend_from_slice(line.as_bytes());
                self.chunk = Some(data);
            }
            Framing::Length { remaining } => {
                let left = remaining.checked_sub(size as u64);
                *remaining =
                    left.ok_or_else(|| SendError::Body("the body is longer than declared".into()))?;
                if self.buffer.len() + size > self.buffer.capacity() {
                    self.chunk = Some(data);
                    return Ok(());
                }
                while data.has_remaining() {
                    let part = data.chunk();
                    self.buffer.extend_from_slice(part);
                    let length = part.len();
                    data.advance(length);
                }
            }
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), SendError> {
        match self.framing {
            Framing::Chunked { started: true } => self.buffer.extend_from_slice(b"\r\n0\r\n\r\n"),
            Framing::Chunked { started: false } => self.buffer.extend_from_slice(b"0\r\n\r\n"),
            Framing::None | Framing::UntilClose | Framing::Length { remaining: 0 } => {}
            Framing::Length { .. } => {
                return Err(SendError::Body("the body is shorter than declared".into()));
            }
        }
        self.state = State::Flush;
        Ok(())
    }

    /// Small parts wait for those behind them, large ones leave.
    fn poll_write_if_large<I: AsyncWrite + Unpin>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.chunk.is_none() && self.buffer.len() - self.sent < COPY_LIMIT {
            return Poll::Ready(Ok(()));
        }
        self.poll_write(io, cx)
    }

    fn poll_write_all<I: AsyncWrite + Unpin>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_write(io, cx))?;
        let flushed = Pin::new(io).poll_flush(cx);
        self.blocked = flushed.is_pending();
        flushed
    }

    fn poll_write<I: AsyncWrite + Unpin>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let buffered = &self.buffer[self.sent..];
            let chunk = self.chunk.as_ref().map_or(&b""[..], Buf::chunk);
            let slices = [IoSlice::new(buffered), IoSlice::new(chunk)];
            let written = match (buffered.is_empty(), chunk.is_empty()) {
                (true, true) => {
                    // The last of a message stays here, because it may be sent again.
                    if self.state == State::Body {
                        self.is_partial |= self.sent > 0;
                        self.buffer.clear();
                        self.sent = 0;
                    }
                    self.chunk = None;
                    return Poll::Ready(Ok(()));
                }
                (false, true) => Pin::new(&mut *io).poll_write(cx, buffered),
                (true, false) => Pin::new(&mut *io).poll_write(cx, chunk),
                (false, false) => Pin::new(&mut *io).poll_write_vectored(cx, &slices),
            };
            self.blocked = written.is_pending();
            let written = ready!(written)?;
            self.written += written as u64;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let from_buffer = written.min(buffered.len());
            self.sent += from_buffer;
            if let Some(chunk) = &mut self.chunk {
                chunk.advance(written - from_buffer);
                self.is_partial |= written > from_buffer;
            }
        }
    }
}

/// Returns the exact capacity for head and body, so that the buffer never moves: if it did, it would leave
/// a copy behind.
fn capacity(copy_limit: usize, start: &[&[u8]], headers: &HeaderMap, framing: Framing) -> usize {
    /// `transfer-encoding: chunked`, or a length of twenty digits, and the empty line.
    const FRAMING: usize = 42;
    let start: usize = start.iter().map(|part| part.len()).sum();
    let fields = headers.iter();
    let fields: usize = fields
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    let body = match framing {
        Framing::Length { remaining } if remaining <= copy_limit as u64 => remaining as usize,
        Framing::None | Framing::UntilClose | Framing::Length { .. } | Framing::Chunked { .. } => 0,
    };
    start + fields + FRAMING + body
}

fn put_framing(head: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::None | Framing::UntilClose => {}
        Framing::Length { remaining } => {
            let mut digits = [0; 20];
            let digits = decimal(remaining, &mut digits);
            put(head, &[b"content-length: ", digits, b"\r\n"]);
        }
        Framing::Chunked { .. } => put(head, &[b"transfer-encoding: chunked\r\n"]),
    }
    put(head, &[b"\r\n"]);
}

/// The digits of a number, without the formatting machinery that would be slower than the number.
fn decimal(mut number: u64, buffer: &mut [u8; 20]) -> &[u8] {
    let mut start = buffer.len();
    loop {
        start -= 1;
        buffer[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &buffer[start..];
        }
    }
}

fn put(head: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        head.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_they_are_read() {
        for number in [0, 7, 10, 99, 100, 65_536, u64::MAX] {
            let mut buffer = [0; 20];
            assert_eq!(decimal(number, &mut buffer), number.to_string().as_bytes());
        }
    }
}
