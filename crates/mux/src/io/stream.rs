//! One stream of a session.

use std::{
    fmt,
    io::{self, IoSlice},
    sync::Arc,
    task::{Context, Poll},
};

use super::{ReadHalf, WriteHalf};
use crate::{
    config::Role,
    copying::pieces,
    driver::{Shared, State, Wait, Waiting},
    error::{Direction, StreamError, StreamId},
    info::StreamInfo,
    streams::Key,
};

/// One stream of a session: a reliable byte stream in both directions.
///
/// It implements tokio's [`AsyncRead`](tokio::io::AsyncRead) and [`AsyncWrite`](tokio::io::AsyncWrite), and the I/O
/// traits of hyper and of the futures ecosystem with the features `hyper` and `futures`. It is `Send + Sync`;
/// [`into_split`](Self::into_split) makes two halves of it for two tasks.
///
/// # Sending
///
/// Writes are taken while the peer's window and the session's send queue have space. Bytes that were
/// taken are delivered in order, whatever happens to the stream afterwards, unless it is
/// [`reset`](Self::reset) or the session fails. Small writes leave when the task yields or waits
/// for the peer in a read; there is no need to flush. `flush` waits until the connection has taken what was written, and
/// `shutdown` until it has taken FIN as well; a connection with a buffer has taken bytes when it has flushed them.
///
/// # Closing
///
/// `shutdown` ends the write side (FIN); reading continues. Dropping the stream delivers what was
/// written and then ends it: the peer reads everything and then the end. Bytes that were not
/// read are dropped; a peer that sends more than its window after that is reset.
/// The stream counts as open until the peer has finished it too, or
/// [`Config::close_timeout`](crate::Config::close_timeout) has passed.
///
/// # Errors
///
/// The [`io::Error`] of a failed operation contains a [`StreamError`]. Its kind depends on the direction: where a
/// reader gets `UnexpectedEof` because the session ended, a writer gets `BrokenPipe`.
///
/// # Cancel safety
///
/// Reads and writes are cancel safe: a future of `read`, `write` or `flush` that was dropped
/// before it was ready has transferred nothing. `write_all` and `read_exact` are not, as with
/// every stream of tokio.
pub struct Stream {
    shared: Arc<Shared>,
    key: Key,
    info: StreamInfo,
}

impl Stream {
    pub(crate) fn new(shared: Arc<Shared>, key: Key, info: StreamInfo) -> Self {
        Self { shared, key, info }
    }

    /// Returns the id of the stream on the wire.
    pub fn id(&self) -> StreamId {
        self.info.id
    }

    /// Returns the role of this end of the session.
    pub fn role(&self) -> Role {
        self.info.role
    }

    /// Returns the facts of the stream for request handlers.
    pub fn info(&self) -> StreamInfo {
        self.info.clone()
    }

    /// Resets the stream: ends both directions at once. The peer's reads and writes fail; what
    /// was written and not yet read by the peer may be lost.
    pub fn reset(self) {
        self.reset_now();
    }

    /// Waits until the stream has ended in both directions, without reading or writing: a handler that computes learns
    /// that the peer has lost interest. Any number of tasks may wait.
    ///
    /// # Errors
    ///
    /// Returns [`StreamError`] if the stream was reset by either end, or the session ended before the stream.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn closed(&self) -> Result<(), StreamError> {
        let waiting = Waiting::new(&*self.shared, Wait::Closed(self.key));
        let closed = |state: &mut State| state.core.poll_stream_closed(self.key);
        waiting.until(closed).await
    }

    /// Splits the stream into a half that reads and a half that writes, for two tasks.
    ///
    /// Dropping the [`WriteHalf`] ends the write side as `shutdown` does. When both halves are dropped, the stream is.
    pub fn into_split(self) -> (ReadHalf, WriteHalf) {
        let stream = Arc::new(self);
        (ReadHalf::new(Arc::clone(&stream)), WriteHalf::new(stream))
    }

    /// Returns the stream, for code that is the same for a stream and its halves.
    pub(super) const fn stream(&self) -> &Self {
        self
    }

    pub(super) fn reset_now(&self) {
        self.with(State::reset);
    }

    /// Reads at most `remaining` bytes, given a function that appends a few of them to the reader's buffer.
    pub(super) fn poll_append(
        &self,
        cx: &mut Context<'_>,
        mut remaining: usize,
        mut append: impl FnMut(&[u8]),
    ) -> Poll<io::Result<()>> {
        let copy = |bytes: &[u8]| {
            let count = bytes.len().min(remaining);
            pieces(&bytes[..count]).for_each(&mut append);
            remaining -= count;
            count
        };
        let read = self
            .shared
            .poll(cx, |state, task| state.poll_read(self.key, task, copy));
        read.map_err(|error| error.into_io(Direction::Read))
    }

    pub(super) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self
            .shared
            .poll(cx, |state, task| state.poll_write(self.key, task, buffers));
        written.map_err(write_failed)
    }

    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self
            .shared
            .poll(cx, |state, task| state.poll_flush(self.key, task));
        flushed.map_err(write_failed)
    }

    pub(super) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = self
            .shared
            .poll(cx, |state, task| state.poll_shutdown(self.key, task));
        shut.map_err(write_failed)
    }

    /// Ends the write side.
    pub(super) fn finish(&self) -> Result<(), StreamError> {
        self.with(State::finish)
    }

    fn with<T>(&self, action: impl FnOnce(&mut State, Key) -> T) -> T {
        self.shared.with(|state| action(state, self.key))
    }
}

fn write_failed(error: StreamError) -> io::Error {
    error.into_io(Direction::Write)
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.with(State::handle_dropped);
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("id", &self.key.id)
            .finish_non_exhaustive()
    }
}
