//! Writing: the socket is written by whoever has something to send, always with the driver's
//! waker, since a socket keeps one waker for each direction.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use super::shared::{State, now};
use crate::{
    error::StreamError,
    frame::{HEADER_LEN, Header},
    io::Connection,
    session::{BURST, Core},
    streams::Key,
};

/// The connection and what is known of its write side.
#[derive(Debug)]
pub(super) struct Socket {
    io: Option<Box<dyn Connection>>,
    /// The socket took no more bytes; it will wake the driver.
    is_blocked: bool,
    /// Bytes were written that the connection may be holding back.
    needs_flush: bool,
    /// Writing failed.
    error: Option<io::Error>,
    /// The write side was shut down.
    is_shut: bool,
}

/// A write from the caller's buffer.
pub(super) struct Direct<'a> {
    pub(super) core: &'a mut Core,
    pub(super) key: Key,
    pub(super) payload: &'a [u8],
    /// How many frames may be written.
    pub(super) frames: usize,
}

impl Socket {
    pub(super) fn new(io: Box<dyn Connection>) -> Self {
        Self {
            io: Some(io),
            is_blocked: false,
            needs_flush: false,
            error: None,
            is_shut: false,
        }
    }

    /// The connection, unless it was closed.
    pub(super) fn io(&mut self) -> Option<Pin<&mut dyn Connection>> {
        self.io.as_deref_mut().map(Pin::new)
    }

    /// Closes the connection.
    pub(super) fn close(&mut self) {
        self.io = None;
    }

    pub(super) fn fail(&mut self, error: io::Error) {
        self.error.get_or_insert(error);
    }

    pub(super) fn take_error(&mut self) -> Option<io::Error> {
        self.error.take()
    }

    pub(super) const fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    fn can_write(&self) -> bool {
        self.io.is_some() && self.error.is_none() && !self.is_shut
    }

    /// Writes what is queued until the queue is empty or the socket full.
    fn flush(&mut self, cx: &mut Context<'_>, core: &mut Core) -> io::Result<()> {
        self.is_blocked = false;
        while core.wants_to_send() && !self.is_blocked {
            core.stage();
            let Some(io) = self.io() else { return Ok(()) };
            let (front, back) = core.out.parts();
            let written = if back.is_empty() {
                io.poll_write(cx, front)
            } else {
                io.poll_write_vectored(cx, &[IoSlice::new(front), IoSlice::new(back)])
            };
            match written {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => {
                    core.out.consume(count);
                    core.progressed();
                    self.needs_flush = true;
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => self.is_blocked = true,
            }
        }
        if self.needs_flush && !self.is_blocked {
            self.flush_connection(cx)?;
        }
        if self.is_blocked {
            core.stalled(now());
        }
        Ok(())
    }

    /// Lets the connection pass on what it may have buffered.
    fn flush_connection(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(io) = self.io() else { return Ok(()) };
        if let Poll::Ready(result) = io.poll_flush(cx) {
            self.needs_flush = false;
            result?;
        }
        Ok(())
    }

    /// Shuts the write side down, once.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_shut {
            return Poll::Ready(Ok(()));
        }
        let Some(io) = self.io() else {
            return Poll::Ready(Ok(()));
        };
        let result = io.poll_shutdown(cx);
        self.is_shut = result.is_ready();
        result
    }

    /// Writes up to four frames straight from the caller's buffer, behind what is queued. The rest of
    /// a frame that the socket takes only in part is copied to the queue; frames behind it are not
    /// begun after all, unless there is none before it.
    pub(super) fn write_directly(
        &mut self,
        cx: &mut Context<'_>,
        direct: Direct<'_>,
    ) -> Poll<Result<usize, StreamError>> {
        let Direct {
            core,
            key,
            payload,
            frames,
        } = direct;
        let mut headers = [[0; HEADER_LEN]; BURST];
        let mut parts: [&[u8]; BURST] = [&[]; BURST];
        let mut rest = payload;
        let mut count = 0;
        while count < frames.min(BURST) && !rest.is_empty() {
            let header = match core.begin_data(key, rest.len(), count > 0) {
                Poll::Ready(Ok(header)) => header,
                other if count == 0 => return other.map_ok(Header::payload_len),
                _ => break,
            };
            headers[count] = header.encode();
            (parts[count], rest) = rest.split_at(header.payload_len());
            count += 1;
        }
        core.stage();
        let slices = Slices::new(core.out.parts(), &headers[..count], &parts[..count]);
        let Some(io) = self.io() else {
            return Poll::Ready(Err(StreamError::Closed));
        };
        let written = match io.poll_write_vectored(cx, slices.get()) {
            Poll::Ready(Ok(0)) => Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(written)) => Ok(written),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => {
                self.is_blocked = true;
                Ok(0)
            }
        };
        if written.as_ref().is_ok_and(|written| *written > 0) {
            core.progressed();
            self.needs_flush = true;
        }
        let mut taken = payload.len() - rest.len();
        match written {
            Ok(written) => {
                let begun = begun(core.out.len(), written, &parts[..count]);
                for part in &parts[begun..count] {
                    core.take_back(key, part.len());
                    taken -= part.len();
                }
                queue_rest(core, written, &headers[..begun], &parts[..begun]);
            }
            Err(error) => self.fail(error),
        }
        if self.is_blocked {
            core.stalled(now());
        }
        Poll::Ready(Ok(taken))
    }
}

/// The queue and up to four frames as one list of buffers.
struct Slices<'a> {
    slices: [IoSlice<'a>; 2 * BURST + 2],
    len: usize,
}

impl<'a> Slices<'a> {
    fn new(
        queue: (&'a [u8], &'a [u8]),
        headers: &'a [[u8; HEADER_LEN]],
        parts: &[&'a [u8]],
    ) -> Self {
        let mut slices = [IoSlice::new(&[]); 2 * BURST + 2];
        let mut len = 0;
        for part in [queue.0, queue.1] {
            if !part.is_empty() {
                slices[len] = IoSlice::new(part);
                len += 1;
            }
        }
        for (header, part) in headers.iter().zip(parts) {
            slices[len] = IoSlice::new(header);
            slices[len + 1] = IoSlice::new(part);
            len += 2;
        }
        Self { slices, len }
    }

    fn get(&self) -> &[IoSlice<'a>] {
        &self.slices[..self.len]
    }
}

/// How many of the frames behind a queue of `queued` bytes have begun to leave, or the first.
fn begun(queued: usize, written: usize, parts: &[&[u8]]) -> usize {
    let mut end = queued;
    let is_begun = |part: &&&[u8]| {
        let start = end;
        end += HEADER_LEN + part.len();
        start < written
    };
    parts.iter().take_while(is_begun).count().max(1)
}

/// Queues what is left of queue and frames after `written` bytes of them have left.
fn queue_rest(core: &mut Core, written: usize, headers: &[[u8; HEADER_LEN]], parts: &[&[u8]]) {
    let queued = core.out.len();
    core.out.consume(written.min(queued));
    let mut written = written.saturating_sub(queued);
    for (header, part) in headers.iter().zip(parts) {
        for bytes in [&header[..], part] {
            let gone = written.min(bytes.len());
            written -= gone;
            core.out.push_data(&bytes[gone..]);
        }
    }
}

impl State {
    /// Whether a large write may go to the socket past the queue.
    pub(super) fn can_write_directly(&self) -> bool {
        self.driver.is_some()
            && self.socket.can_write()
            && !self.socket.is_blocked()
            && !self.core.is_over()
    }

    /// Writes what is queued, with the driver's waker; before the driver's first poll there is
    /// none, and its first turn will flush.
    pub(super) fn flush(&mut self) {
        let Some(driver) = &self.driver else { return };
        if !self.socket.can_write() {
            // Nothing will ever leave; the driver is reading what the peer sent before.
            self.core.out.clear();
            return;
        }
        let mut cx = Context::from_waker(driver);
        if let Err(error) = self.socket.flush(&mut cx, &mut self.core) {
            self.write_failed(error);
        }
        if self.takes_writers() {
            self.call_writers();
        }
    }

    /// Calls those who wait to write, as far as the go has room for them.
    pub(super) fn call_writers(&mut self) {
        self.core.call_writers(self.pace.frames());
    }

    /// Whether writers wait although there is room for them.
    pub(super) fn owes_a_turn(&self) -> bool {
        self.core.owes_a_turn() && self.takes_writers()
    }

    fn takes_writers(&self) -> bool {
        !self.socket.is_blocked() && !self.pace.is_resting()
    }

    /// What a direct write leaves to do.
    pub(super) fn after_write(&mut self) {
        if let Some(error) = self.socket.take_error() {
            self.write_failed(error);
        } else if !self.core.out.is_empty() && !self.socket.is_blocked() {
            self.flush();
        } else if self.socket.needs_flush && !self.socket.is_blocked() {
            self.flush_connection();
        }
    }

    fn flush_connection(&mut self) {
        let Some(driver) = &self.driver else { return };
        if let Err(error) = self
            .socket
            .flush_connection(&mut Context::from_waker(driver))
        {
            self.write_failed(error);
        }
    }
}
