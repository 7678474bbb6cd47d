//! The connection and the state of its write side.

use std::{
    future::{Future, poll_fn},
    io::{self, IoSlice},
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use super::{batch::Batch, clock::now, connection::Connection};
use crate::{core::Core, error::StreamError, streams::Key};

/// The write half of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// It took no more bytes, or has not passed on what it took. It will wake the driver.
    Blocked,
    /// A write failed, and none is tried again.
    Failed,
    /// It was shut down.
    Shut,
}

/// The connection and the state of its write side.
#[derive(Debug)]
pub(super) struct WriteSide {
    io: Option<Box<dyn Connection>>,
    state: State,
    /// Bytes were written that the connection may be holding back.
    needs_flush: bool,
}

impl WriteSide {
    pub(super) fn new(io: Box<dyn Connection>) -> Self {
        Self {
            io: Some(io),
            state: State::Open,
            needs_flush: false,
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

    /// A write failed.
    pub(super) const fn fail(&mut self) {
        self.state = State::Failed;
        self.needs_flush = false;
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.state == State::Blocked
    }

    /// Whether bytes may still be written, now or later.
    pub(super) const fn can_write(&self) -> bool {
        self.io.is_some() && matches!(self.state, State::Open | State::Blocked)
    }

    /// Whether the connection may be holding back what it took.
    pub(super) const fn needs_flush(&self) -> bool {
        self.needs_flush
    }

    /// Whether a large write may go to the connection from the caller's buffer. Where one write takes a single
    /// buffer, each header would be a write of its own, and copying costs less.
    pub(super) fn takes_batches(&self) -> bool {
        let io = self.io.as_ref();
        self.state == State::Open && io.is_some_and(|io| io.is_write_vectored())
    }

    /// Writes the queue until it is empty or the connection blocked, and flushes the connection.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>, core: &mut Core) -> io::Result<()> {
        if !self.can_write() {
            return Ok(());
        }
        self.state = State::Open;
        while core.wants_to_send() && self.state == State::Open {
            core.stage();
            let (front, back) = core.out.parts();
            if front.is_empty() {
                // What was due belonged to a stream that is gone. A write of nothing would look like the connection's
                // end.
                break;
            }
            match self.poll_write(cx, &[IoSlice::new(front), IoSlice::new(back)]) {
                Poll::Ready(count) => core.out.consume(count?),
                Poll::Pending => break,
            }
            core.progressed();
        }
        self.flush_connection(cx, core)?;
        if self.is_blocked() {
            core.stalled(now());
        }
        Ok(())
    }

    /// Writes to the connection, which is not closed.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Some(io) = self.io() else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let written = match buffers {
            [front, rest @ ..] if rest.iter().all(|slice| slice.is_empty()) => {
                unconstrained(cx, io, |io, cx| io.poll_write(cx, front))
            }
            _ => unconstrained(cx, io, |io, cx| io.poll_write_vectored(cx, buffers)),
        };
        match written {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(count)) => {
                self.needs_flush = true;
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.state = State::Blocked;
                Poll::Pending
            }
        }
    }

    /// Lets the connection pass on what it may have buffered, even if it takes no more: flushes wait for what it has
    /// taken, and not for what follows. One that cannot pass on is blocked like one that takes nothing: what it holds
    /// would stay there if it were not polled again.
    fn flush_connection(&mut self, cx: &mut Context<'_>, core: &mut Core) -> io::Result<()> {
        if !self.needs_flush {
            return Ok(());
        }
        let Some(io) = self.io() else { return Ok(()) };
        match unconstrained(cx, io, |io, cx| io.poll_flush(cx)) {
            Poll::Ready(result) => {
                result?;
                self.needs_flush = false;
                core.progressed();
                core.out.flushed();
            }
            Poll::Pending => self.state = State::Blocked,
        }
        Ok(())
    }

    /// Writes frames straight from the caller's buffer, behind the queue, and returns how much of the buffer was
    /// taken.
    pub(super) fn write_batch(
        &mut self,
        cx: &mut Context<'_>,
        core: &mut Core,
        key: Key,
        payload: &[u8],
    ) -> Poll<Result<io::Result<usize>, StreamError>> {
        let batch = ready!(Batch::begin(core, key, payload))?;
        core.stage();
        let queue = core.out.parts();
        let written = match batch.with_buffers(queue, |buffers| self.poll_write(cx, buffers)) {
            Poll::Ready(Ok(written)) => {
                core.progressed();
                written
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Ok(Err(error))),
            Poll::Pending => {
                core.stalled(now());
                0
            }
        };
        Poll::Ready(Ok(Ok(batch.account(core, written))))
    }

    /// Shuts the write side down, once.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.state {
            State::Shut => return Poll::Ready(Ok(())),
            State::Failed => return Poll::Pending,
            State::Open | State::Blocked => {}
        }
        let Some(io) = self.io() else {
            return Poll::Ready(Ok(()));
        };
        let result = unconstrained(cx, io, |io, cx| io.poll_shutdown(cx));
        if result.is_ready() {
            self.state = State::Shut;
        }
        result
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

    /// The results of the first writes; later ones take everything.
    type Results = VecDeque<Poll<io::Result<usize>>>;

    /// A connection that takes several buffers in one write.
    struct Taking {
        results: Results,
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
            let limit = self.results.pop_front();
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

    /// The result of a write.
    struct Outcome {
        /// How much of the payload was taken.
        written: io::Result<usize>,
        /// The bytes that the connection has.
        taken: Vec<u8>,
        /// The same, with what is queued behind it.
        wire: Vec<u8>,
        write_side: WriteSide,
        core: Core,
    }

    /// Writes to a connection with these results.
    fn write(payload: &[u8], results: impl Into<Results>) -> Outcome {
        let taken = Arc::default();
        let mut write_side = WriteSide::new(Box::new(Taking {
            results: results.into(),
            taken: Arc::clone(&taken),
        }));
        let config = Config::new().keep_alive(None);
        let mut core = Core::new(1, Role::Client, config, now());
        let Poll::Ready(Ok(key)) = core.open() else {
            panic!("a new session opens streams");
        };
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(Ok(written)) = write_side.write_batch(&mut cx, &mut core, key, payload)
        else {
            panic!("the stream can be written");
        };
        let taken = std::mem::take(&mut *taken.lock().unwrap());
        let (front, back) = core.out.parts();
        Outcome {
            written,
            wire: [&taken, front, back].concat(),
            taken,
            write_side,
            core,
        }
    }

    const FRAME: usize = 12 + 16_384;

    #[test]
    fn a_partial_write_is_completed_before_the_next_frame() {
        let payload: Vec<u8> = (0..65_536_u32).map(|byte| (byte / 7) as u8).collect();
        let all = write(&payload, []);
        assert_eq!(all.written.unwrap(), payload.len());
        assert!(all.taken == all.wire && all.wire.len() == 4 * FRAME);
        for (results, taken, frames) in [
            (vec![1], 1, 1),
            (vec![FRAME], FRAME, 1),
            (vec![2 * FRAME - 1], 2 * FRAME - 1, 2),
            (vec![2 * FRAME + 1], 2 * FRAME + 1, 3),
            (vec![4 * FRAME - 1], 4 * FRAME - 1, 4),
        ] {
            let results: Vec<_> = results
                .into_iter()
                .map(|count| Poll::Ready(Ok(count)))
                .collect();
            let some = write(&payload, results);
            let written = some.written.unwrap();
            assert_eq!((some.taken.len(), written), (taken, frames * 16_384));
            assert!(
                some.wire == all.wire[..frames * FRAME],
                "after {taken} bytes"
            );
            assert!(!some.write_side.is_blocked() && some.core.deadline().is_none());
        }
    }

    #[test]
    fn a_connection_that_takes_nothing_is_blocked() {
        let some = write(&[7; 65_536], [Poll::Pending]);
        assert_eq!(some.written.unwrap(), 16_384);
        assert_eq!(some.wire.len(), FRAME);
        assert!(some.write_side.is_blocked(), "it will wake the driver");
        assert!(some.core.deadline().is_some(), "for as long as it may take");
    }

    #[test]
    fn a_connection_that_fails_has_taken_nothing() {
        for failure in [Ok(0), Err(io::ErrorKind::BrokenPipe.into())] {
            assert!(write(&[7; 65_536], [Poll::Ready(failure)]).written.is_err());
        }
    }
}
