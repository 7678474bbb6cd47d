//! The connection and the state of its write side.

use std::{
    future::{Future, poll_fn},
    io::{self, IoSlice},
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, Waker, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{batch::Batch, clock::now, waiting::DriverWaker};
use crate::{
    core::Core,
    error::StreamError,
    streams::{Block, Key},
};

/// The connection of a session: any reliable byte stream.
pub(crate) trait Connection: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Connection for T {}

/// The write half of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The driver was not polled yet.
    Idle,
    Open,
    /// It took no bytes, or did not flush them. It will wake the driver.
    Blocked,
    /// A write failed, and none is tried again.
    Failed,
    /// It was shut down.
    Shut,
}

/// The connection and the state of its write side. Any task that has something to send writes to it.
pub(super) struct WriteSide {
    io: Option<Box<dyn Connection>>,
    /// Wakes the driver. All tasks poll the connection with it, because a connection keeps one waker for each direction.
    waker: Waker,
    driver: Arc<DriverWaker>,
    /// The last read did not find the connection empty.
    may_read: bool,
    state: State,
    /// The connection may be buffering written bytes.
    needs_flush: bool,
}

impl WriteSide {
    pub(super) fn new(io: Box<dyn Connection>, driver: Arc<DriverWaker>) -> Self {
        Self {
            io: Some(io),
            waker: Waker::from(Arc::clone(&driver)),
            driver,
            may_read: true,
            state: State::Idle,
            needs_flush: false,
        }
    }

    /// The driver is polled, so the connection may be used.
    pub(super) fn start(&mut self) {
        if self.state == State::Idle {
            self.state = State::Open;
        }
    }

    /// Closes the connection.
    pub(super) fn close(&mut self) {
        self.io = None;
        self.state = State::Shut;
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.state == State::Blocked
    }

    /// Returns `true` if a large write may go to the connection from the caller's buffer. Where one write takes a
    /// single buffer, each header would be a write of its own, and copying costs less.
    pub(super) fn takes_batches(&self) -> bool {
        let io = self.io.as_ref();
        self.state == State::Open && io.is_some_and(|io| io.is_write_vectored())
    }

    /// Writes the queue until it is empty or the connection blocked, and flushes the connection.
    pub(super) fn flush(&mut self, core: &mut Core) {
        match self.state {
            State::Idle => return,
            State::Failed | State::Shut => {
                // Nothing can be sent any more; the driver still reads bytes that the peer sent before.
                core.stage();
                core.out.clear();
                return;
            }
            State::Open | State::Blocked => self.state = State::Open,
        }
        let flushed = self
            .write_queue(core)
            .and_then(|()| self.flush_connection(core));
        match flushed {
            Err(error) => self.fail(core, error),
            Ok(()) if self.is_blocked() => core.stalled(now()),
            Ok(()) => {}
        }
    }

    fn write_queue(&mut self, core: &mut Core) -> io::Result<()> {
        while core.wants_to_send() {
            core.stage();
            let (front, back) = core.out.parts();
            if front.is_empty() {
                // The pending frames belonged to streams that have ended. An empty write would look like the end of the
                // connection.
                break;
            }
            match self.poll_write(&[IoSlice::new(front), IoSlice::new(back)]) {
                Poll::Ready(count) => core.out.consume(count?),
                Poll::Pending => break,
            }
            core.progressed();
        }
        Ok(())
    }

    fn poll_write(&mut self, buffers: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = self.poll_io(|io, cx| match buffers {
            [front, rest @ ..] if rest.iter().all(|slice| slice.is_empty()) => {
                io.poll_write(cx, front)
            }
            _ => io.poll_write_vectored(cx, buffers),
        });
        match written {
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(_)) => self.needs_flush = true,
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.state = State::Blocked,
        }
        written
    }

    /// Flushes the connection, even if it takes no more bytes: flushes of streams wait for the bytes that it has taken, and
    /// not for those behind. A connection whose flush is pending is blocked, because it flushes only if it is polled
    /// again.
    fn flush_connection(&mut self, core: &mut Core) -> io::Result<()> {
        if !self.needs_flush {
            return Ok(());
        }
        match self.poll_io(|io, cx| io.poll_flush(cx)) {
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

    /// Writes frames straight from the caller's buffer, behind the queue, and returns the number of bytes of the buffer
    /// that were taken.
    pub(super) fn write_batch(
        &mut self,
        core: &mut Core,
        key: Key,
        payload: &[u8],
    ) -> Poll<Result<usize, StreamError>> {
        let batch = ready!(Batch::begin(core, key, payload))?;
        core.stage();
        let written = self.poll_write(&batch.buffers(core.out.parts()));
        let written = match written {
            Poll::Ready(Ok(written)) => {
                core.progressed();
                written
            }
            Poll::Ready(Err(error)) => {
                self.fail(core, error);
                return Poll::Pending;
            }
            Poll::Pending => {
                core.stalled(now());
                0
            }
        };
        Poll::Ready(Ok(batch.account(core, written)))
    }

    /// A write failed. Bytes that the peer sent before may still be read.
    fn fail(&mut self, core: &mut Core, error: io::Error) {
        self.state = State::Failed;
        core.write_failed(now(), error);
    }

    /// Shuts the write side down, once.
    pub(super) fn poll_shutdown(&mut self) -> Poll<io::Result<()>> {
        match self.state {
            State::Shut => return Poll::Ready(Ok(())),
            State::Failed => return Poll::Pending,
            State::Idle | State::Open | State::Blocked => {}
        }
        let result = self.poll_io(|io, cx| io.poll_shutdown(cx));
        if result.is_ready() {
            self.state = State::Shut;
        }
        result
    }

    /// Returns `true` if a read may find bytes: the connection has woken the driver since it was empty.
    pub(super) fn is_readable(&mut self) -> bool {
        self.may_read |= self.driver.is_ready.swap(false, Ordering::Acquire);
        self.may_read
    }

    /// Reads into a block and returns the number of bytes; 0 at the end of the connection.
    #[inline]
    pub(super) fn poll_read(&mut self, block: &mut Block) -> Poll<io::Result<usize>> {
        if block.is_shared() {
            // Blocks of the free list are not shared. A read into an empty buffer would look like the end.
            debug_assert!(false, "a free block was in use");
            *block = Block::new(block.len());
        }
        let mut buffer = ReadBuf::new(block.unique().unwrap_or_default());
        let read = self.poll_io(|io, cx| io.poll_read(cx, &mut buffer));
        self.may_read = read.is_ready();
        read.map_ok(|()| buffer.filled().len())
    }

    /// Polls the connection outside of the task's cooperative budget: a connection of tokio is pending without being
    /// blocked if the budget of the task is spent, and all tasks share the connection.
    fn poll_io<T>(
        &mut self,
        mut poll: impl FnMut(Pin<&mut dyn Connection>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let Some(io) = &mut self.io else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let polling = poll_fn(|cx| poll(Pin::new(&mut **io), cx));
        let mut cx = Context::from_waker(&self.waker);
        pin!(tokio::task::unconstrained(polling)).poll(&mut cx)
    }
}

#[cfg(all(test, not(keyway_loom)))]
mod tests {
    use std::{collections::VecDeque, sync::Mutex};

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
        /// The number of bytes of the payload that were taken.
        written: Result<usize, StreamError>,
        /// The bytes that the connection has.
        taken: Vec<u8>,
        /// The same, and the queued bytes behind them.
        wire: Vec<u8>,
        write_side: WriteSide,
        core: Core,
    }

    /// Writes to a connection with these results.
    fn write(payload: &[u8], results: impl Into<Results>) -> Outcome {
        let taken = Arc::default();
        let connection = Box::new(Taking {
            results: results.into(),
            taken: Arc::clone(&taken),
        });
        let mut write_side = WriteSide::new(connection, Arc::default());
        write_side.start();
        let config = Config::new().keep_alive(None);
        let mut core = Core::new(1, Role::Client, config, now());
        let Poll::Ready(Ok(key)) = core.open() else {
            panic!("a new session opens streams");
        };
        let written = match write_side.write_batch(&mut core, key, payload) {
            Poll::Ready(written) => written,
            Poll::Pending => Err(core.write_error(key).unwrap()),
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
    fn a_connection_is_read_again_after_it_has_woken_the_driver() {
        let connection = Box::new(Taking {
            results: Results::default(),
            taken: Arc::default(),
        });
        let driver = Arc::<DriverWaker>::default();
        let mut write_side = WriteSide::new(connection, Arc::clone(&driver));
        for _ in 0..3 {
            assert!(write_side.is_readable());
            assert!(write_side.poll_read(&mut Block::new(64)).is_pending());
            assert!(!write_side.is_readable());
            Waker::from(Arc::clone(&driver)).wake();
        }
    }

    #[test]
    fn a_connection_that_fails_has_taken_nothing() {
        for failure in [Ok(0), Err(io::ErrorKind::BrokenPipe.into())] {
            assert!(write(&[7; 65_536], [Poll::Ready(failure)]).written.is_err());
        }
    }
}
