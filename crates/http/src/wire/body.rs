//! [`BodyReader`]: the body of a message as it arrives.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::AsyncRead;

use super::reader::{Reader, poll_read};
use crate::syntax::chunked::{Chunked, Part};
use crate::syntax::{Framing, SyntaxError};
use crate::zeroed::Zeroed;

/// A body with a length, or the rest of it, is read into one buffer of at most this size, so that a caller that
/// collects it copies nothing up to here. The buffer costs address space until the bytes arrive, not memory.
const MAX_BLOCK: u64 = 1024 * 1024;

/// The body of a message, read behind its head.
pub(crate) struct BodyReader {
    state: State,
    /// The block that is being read beyond the buffer of the reader.
    block: Block,
}

enum State {
    Length { remaining: u64 },
    Chunked(Chunked),
    UntilClose,
    Ended,
}

/// A buffer for the rest of a body, and how much of it is filled.
#[derive(Default)]
struct Block {
    buffer: Zeroed,
    filled: usize,
}

/// Error of reading a body.
#[derive(Debug)]
pub(crate) enum ReadError {
    Io(io::Error),
    /// The connection ended first.
    Truncated,
    Syntax(SyntaxError),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl BodyReader {
    pub(crate) fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(0) => State::Ended,
            Framing::Length(remaining) => State::Length { remaining },
            Framing::Chunked => State::Chunked(Chunked::Size),
            Framing::UntilClose => State::UntilClose,
        };
        Self {
            state,
            block: Block::default(),
        }
    }

    /// Returns `true` if the body was read to its end.
    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Returns how many bytes are still to come; `None` if the end is not known yet.
    pub(crate) fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Length { remaining } => Some(remaining),
            State::Ended => Some(0),
            State::Chunked(_) | State::UntilClose => None,
        }
    }

    /// Reads the next bytes; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if the I/O fails, the connection ends first, or the framing is malformed. Nothing can be read from the
    /// connection afterwards.
    pub(crate) fn poll_data<I: AsyncRead + Unpin>(
        &mut self,
        reader: &mut Reader,
        io: &mut I,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, ReadError>> {
        let data = match &mut self.state {
            State::Ended => return Poll::Ready(Ok(None)),
            State::Length { remaining } => {
                let data = ready!(self.block.poll_read(*remaining, reader, io, cx))?;
                *remaining -= data.len() as u64;
                if *remaining == 0 {
                    self.state = State::Ended;
                }
                return Poll::Ready(Ok(Some(data)));
            }
            State::Chunked(chunked) => ready!(poll_chunk(chunked, reader, io, cx))?,
            State::UntilClose => ready!(poll_until_close(reader, io, cx))?,
        };
        if data.is_none() {
            self.state = State::Ended;
        }
        Poll::Ready(Ok(data))
    }
}

impl Block {
    /// Reads the next block of a body of which `remaining` bytes are left: as many as fit into one.
    fn poll_read<I: AsyncRead + Unpin>(
        &mut self,
        remaining: u64,
        reader: &mut Reader,
        io: &mut I,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Bytes, ReadError>> {
        let size = remaining.min(MAX_BLOCK) as usize;
        if self.buffer.is_empty() {
            if reader.unread().len() >= size {
                return Poll::Ready(Ok(reader.take(size, remaining == size as u64)));
            }
            self.start(size, reader);
        }
        while self.filled < size {
            match ready!(poll_read(io, &mut self.buffer[self.filled..], cx))? {
                0 => return Poll::Ready(Err(ReadError::Truncated)),
                read => self.filled += read,
            }
        }
        Poll::Ready(Ok(Bytes::from_owner(std::mem::take(self).buffer)))
    }

    /// Makes a buffer of this size and moves the unread bytes to it.
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

fn poll_chunk<I: AsyncRead + Unpin>(
    chunked: &mut Chunked,
    reader: &mut Reader,
    io: &mut I,
    cx: &mut Context<'_>,
) -> Poll<Result<Option<Bytes>, ReadError>> {
    loop {
        let (framing, part) = chunked.decode(reader.unread()).map_err(ReadError::Syntax)?;
        reader.consume(framing);
        match part {
            Part::Data(size) => return Poll::Ready(Ok(Some(reader.take(size, false)))),
            Part::End => return Poll::Ready(Ok(None)),
            Part::Incomplete => {
                reader.expect_more();
                if ready!(reader.poll_fill(io, cx))? == 0 {
                    return Poll::Ready(Err(ReadError::Truncated));
                }
            }
        }
    }
}

fn poll_until_close<I: AsyncRead + Unpin>(
    reader: &mut Reader,
    io: &mut I,
    cx: &mut Context<'_>,
) -> Poll<Result<Option<Bytes>, ReadError>> {
    if reader.is_empty() {
        reader.expect_more();
        if ready!(reader.poll_fill(io, cx))? == 0 {
            return Poll::Ready(Ok(None));
        }
    }
    let size = reader.unread().len();
    Poll::Ready(Ok(Some(reader.take(size, false))))
}
