//! The connection: what it takes, and what it may be holding back.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use super::{
    burst::{Burst, Direct},
    clock::now,
};
use crate::{error::StreamError, io::Connection, session::Core};

/// The connection and what is known of its write side.
#[derive(Debug)]
pub(super) struct Socket {
    io: Option<Box<dyn Connection>>,
    /// The socket took no more bytes, or has not passed on what it took; it will wake the driver.
    is_blocked: bool,
    /// Bytes were written that the connection may be holding back.
    needs_flush: bool,
    /// Writing failed.
    error: Option<io::Error>,
    /// The write side was shut down.
    is_shut: bool,
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

    /// Whether there is a write side that may still be used.
    pub(super) fn can_write(&self) -> bool {
        self.io.is_some() && self.error.is_none() && !self.is_shut
    }

    /// Writes what is queued until the queue is empty or the socket full.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>, core: &mut Core) -> io::Result<()> {
        self.is_blocked = false;
        while core.wants_to_send() && !self.is_blocked {
            core.stage();
            if core.out.is_empty() {
                // Whoever had something due is gone. A write of nothing would look as if the connection had ended.
                break;
            }
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
        if self.is_blocked {
            core.stalled(now());
        }
        if self.holds_back() {
            self.flush_connection(cx, core)?;
        }
        Ok(())
    }

    /// Whether the connection may be holding back what it took, and could pass it on.
    pub(super) const fn holds_back(&self) -> bool {
        self.needs_flush && !self.is_blocked
    }

    /// Lets the connection pass on what it may have buffered. One that cannot is blocked as one that
    /// takes nothing: what it holds would stay there if it were not asked again.
    pub(super) fn flush_connection(
        &mut self,
        cx: &mut Context<'_>,
        core: &mut Core,
    ) -> io::Result<()> {
        let Some(io) = self.io() else { return Ok(()) };
        match io.poll_flush(cx) {
            Poll::Ready(result) => {
                self.needs_flush = false;
                core.progressed();
                result
            }
            Poll::Pending => {
                self.is_blocked = true;
                core.stalled(now());
                Ok(())
            }
        }
    }

    /// Whether one write takes several buffers. Where it does not, each header would be a write of its own, and
    /// copying costs less.
    pub(super) fn is_vectored(&self) -> bool {
        self.io.as_ref().is_some_and(|io| io.is_write_vectored())
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

    /// Writes some frames straight from the caller's buffer, behind what is queued, and says how much of it was
    /// taken.
    pub(super) fn write_directly(
        &mut self,
        cx: &mut Context<'_>,
        core: &mut Core,
        direct: &Direct<'_>,
    ) -> Poll<Result<usize, StreamError>> {
        let burst = ready!(Burst::begin(core, direct))?;
        core.stage();
        let Some(io) = self.io() else {
            return Poll::Ready(Err(StreamError::Closed));
        };
        let taken = match io.poll_write_vectored(cx, burst.behind(core.out.parts()).get()) {
            Poll::Ready(Ok(written @ 1..)) => {
                core.progressed();
                self.needs_flush = true;
                burst.settle(core, direct.key, written)
            }
            Poll::Ready(Ok(0)) => {
                self.fail(io::ErrorKind::WriteZero.into());
                burst.len()
            }
            Poll::Ready(Err(error)) => {
                self.fail(error);
                burst.len()
            }
            Poll::Pending => {
                self.is_blocked = true;
                core.stalled(now());
                burst.settle(core, direct.key, 0)
            }
        };
        Poll::Ready(Ok(taken))
    }
}
