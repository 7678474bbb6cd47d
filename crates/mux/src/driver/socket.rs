//! The connection: what it takes, and what it may be holding back.

use std::{
    future::{Future, poll_fn},
    io::{self, IoSlice},
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use super::{
    batch::{Batch, DirectWrite, Slices},
    clock::now,
};
use crate::{core::Core, error::StreamError, io::Connection};

/// The connection and what is known of its write side.
#[derive(Debug)]
pub(super) struct Socket {
    io: Option<Box<dyn Connection>>,
    /// The socket took no more bytes, or has not passed on what it took; it will wake the driver.
    is_blocked: bool,
    /// Bytes were written that the connection may be holding back.
    needs_flush: bool,
    /// Writing failed.
    has_failed: bool,
    /// The write side was shut down.
    is_shut: bool,
}

impl Socket {
    pub(super) fn new(io: Box<dyn Connection>) -> Self {
        Self {
            io: Some(io),
            is_blocked: false,
            needs_flush: false,
            has_failed: false,
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

    /// Writing has failed and is not tried again.
    pub(super) const fn fail(&mut self) {
        self.has_failed = true;
        self.is_blocked = false;
        self.needs_flush = false;
    }

    pub(super) const fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// Whether there is a write side that may still be used.
    pub(super) fn can_write(&self) -> bool {
        self.io.is_some() && !self.has_failed && !self.is_shut
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
                unconstrained(cx, io, |io, cx| io.poll_write(cx, front))
            } else {
                let parts = [IoSlice::new(front), IoSlice::new(back)];
                unconstrained(cx, io, |io, cx| io.poll_write_vectored(cx, &parts))
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

    /// Whether the connection may be holding back what it took.
    pub(super) const fn is_flushing(&self) -> bool {
        self.needs_flush
    }

    /// Lets the connection pass on what it may have buffered. One that cannot is blocked as one that
    /// takes nothing: what it holds would stay there if it were not asked again.
    pub(super) fn flush_connection(
        &mut self,
        cx: &mut Context<'_>,
        core: &mut Core,
    ) -> io::Result<()> {
        let Some(io) = self.io() else { return Ok(()) };
        match unconstrained(cx, io, |io, cx| io.poll_flush(cx)) {
            Poll::Ready(result) => {
                result?;
                self.needs_flush = false;
                core.progressed();
                core.out.flushed();
                Ok(())
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
        if self.has_failed {
            return Poll::Pending;
        }
        let Some(io) = self.io() else {
            return Poll::Ready(Ok(()));
        };
        let result = unconstrained(cx, io, |io, cx| io.poll_shutdown(cx));
        self.is_shut = result.is_ready();
        result
    }

    /// Writes some frames straight from the caller's buffer, behind what is queued, and returns how much of it was
    /// taken.
    pub(super) fn write_directly(
        &mut self,
        cx: &mut Context<'_>,
        core: &mut Core,
        direct: &DirectWrite<'_>,
    ) -> Poll<Result<io::Result<usize>, StreamError>> {
        let batch = ready!(Batch::begin(core, direct))?;
        core.stage();
        let written = match self.write_portions(cx, &batch.after_queue(core.out.parts())) {
            Ok(written) => written,
            Err(error) => return Poll::Ready(Ok(Err(error))),
        };
        if written > 0 {
            core.progressed();
        }
        if self.is_blocked {
            core.stalled(now());
        }
        Poll::Ready(Ok(Ok(batch.account(core, direct.key, written))))
    }

    /// Writes one portion after the other until the connection takes less than one, and returns how many bytes it took.
    fn write_portions(&mut self, cx: &mut Context<'_>, slices: &Slices<'_>) -> io::Result<usize> {
        let mut written = 0_usize;
        for portion in slices.portions() {
            let Some(io) = self.io() else { break };
            match unconstrained(cx, io, |io, cx| io.poll_write_vectored(cx, portion)) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => {
                    written = written.saturating_add(count);
                    self.needs_flush = true;
                    if count < portion.iter().map(|slice| slice.len()).sum() {
                        break;
                    }
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {
                    self.is_blocked = true;
                    break;
                }
            }
        }
        Ok(written)
    }
}

/// Polls the connection outside of the task's cooperative budget. The connection is shared by all tasks, and a
/// connection of tokio is pending without being blocked if the budget of the task that polls it is spent.
pub(super) fn unconstrained<T>(
    cx: &mut Context<'_>,
    mut io: Pin<&mut dyn Connection>,
    mut poll: impl FnMut(Pin<&mut dyn Connection>, &mut Context<'_>) -> Poll<T>,
) -> Poll<T> {
    let polling = poll_fn(|cx| poll(io.as_mut(), cx));
    pin!(tokio::task::unconstrained(polling)).poll(cx)
}

#[cfg(all(test, not(keyway_loom)))]
mod tests {
    use std::{
        collections::VecDeque,
        sync::{Arc, Mutex},
        task::Waker,
    };

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use super::*;
    use crate::config::{Config, Role};

    /// What a connection answers to each write, as far as that is known before; then it takes everything.
    type Answers = VecDeque<Poll<io::Result<usize>>>;

    /// A connection that several buffers can be written to at once.
    struct Taking {
        answers: Answers,
        taken: Arc<Mutex<Vec<u8>>>,
    }

    impl AsyncRead for Taking {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Taking {
        fn poll_write(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buffer: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[IoSlice::new(buffer)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffers: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let mut bytes: Vec<u8> = buffers.iter().flat_map(|buffer| buffer.to_vec()).collect();
            let limit = self.answers.pop_front();
            let limit = ready!(limit.unwrap_or(Poll::Ready(Ok(usize::MAX))))?;
            bytes.truncate(limit);
            let mut taken = self.taken.lock().unwrap();
            taken.extend_from_slice(&bytes);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// What became of a write.
    struct Outcome {
        /// How much of the payload was taken.
        written: io::Result<usize>,
        /// What the connection has.
        taken: Vec<u8>,
        /// The same, with what is queued behind it.
        wire: Vec<u8>,
        socket: Socket,
        core: Core,
    }

    /// Writes to a connection that answers like this.
    fn write(payload: &[u8], answers: impl Into<Answers>) -> Outcome {
        let taken = Arc::default();
        let mut socket = Socket::new(Box::new(Taking {
            answers: answers.into(),
            taken: Arc::clone(&taken),
        }));
        let config = Config::new().keep_alive(None);
        let mut core = Core::new(1, Role::Client, config, now());
        let Poll::Ready(Ok(key)) = core.open() else {
            panic!("a new session opens streams");
        };
        let direct = DirectWrite { key, payload };
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(Ok(written)) = socket.write_directly(&mut cx, &mut core, &direct) else {
            panic!("the stream can be written");
        };
        let taken = std::mem::take(&mut *taken.lock().unwrap());
        let (front, back) = core.out.parts();
        Outcome {
            written,
            wire: [&taken, front, back].concat(),
            taken,
            socket,
            core,
        }
    }

    const FRAME: usize = 12 + 16_384;

    #[test]
    fn what_follows_a_short_write_is_not_written_before_the_rest() {
        let payload: Vec<u8> = (0..65_536_u32).map(|byte| (byte / 7) as u8).collect();
        let all = write(&payload, []);
        assert_eq!(all.written.unwrap(), payload.len());
        assert!(all.taken == all.wire && all.wire.len() == 4 * FRAME);
        for (answers, taken, frames) in [
            (vec![1], 1, 1),
            (vec![FRAME], FRAME, 1),
            (vec![2 * FRAME - 1], 2 * FRAME - 1, 2),
            (vec![2 * FRAME, 1], 2 * FRAME + 1, 3),
            (vec![2 * FRAME, 2 * FRAME - 1], 4 * FRAME - 1, 4),
        ] {
            let answers: Vec<_> = answers
                .into_iter()
                .map(|count| Poll::Ready(Ok(count)))
                .collect();
            let some = write(&payload, answers);
            let written = some.written.unwrap();
            assert_eq!((some.taken.len(), written), (taken, frames * 16_384));
            assert!(
                some.wire == all.wire[..frames * FRAME],
                "after {taken} bytes"
            );
            assert!(!some.socket.is_blocked() && some.core.deadline().is_none());
        }
    }

    #[test]
    fn a_connection_that_stops_between_two_portions_is_blocked() {
        let payload = [7; 65_536];
        for (answers, frames) in [
            (vec![Poll::Pending], 1),
            (vec![Poll::Ready(Ok(2 * FRAME)), Poll::Pending], 2),
        ] {
            let some = write(&payload, answers);
            assert_eq!(some.written.unwrap(), frames * 16_384);
            assert_eq!(some.wire.len(), frames * FRAME);
            assert!(some.socket.is_blocked(), "it will wake the driver");
            assert!(some.core.deadline().is_some(), "for as long as it may take");
        }
    }

    #[test]
    fn a_connection_that_fails_has_taken_nothing() {
        for failure in [Ok(0), Err(io::ErrorKind::BrokenPipe.into())] {
            let answers = vec![Poll::Ready(Ok(2 * FRAME)), Poll::Ready(failure)];
            assert!(write(&[7; 65_536], answers).written.is_err());
        }
    }
}
