//! One stream of a session.

use std::{
    io,
    sync::Arc,
    task::{Context, Poll},
};

use super::{ReadHalf, WriteHalf};
use crate::{
    config::Role,
    copying::pieces,
    driver::{Shared, State},
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
/// taken are delivered in order, also after the stream was dropped, unless it is
/// [`reset`](Self::reset) or the session fails. Small writes are sent when the task yields or waits
/// for the peer in a read; there is no need to flush. `flush` waits until the connection has taken all written bytes, and
/// `shutdown` until it has taken FIN as well; a buffered connection has taken bytes when it has flushed them.
///
/// # Closing
///
/// `shutdown` ends the write side (FIN); reading continues. A dropped stream delivers the written bytes and then ends:
/// the peer reads all of them and then the end. Unread bytes are dropped; the stream is reset if the peer then sends
/// more than its window.
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
#[derive(Debug)]
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

    /// Resets the stream: ends both directions at once. The peer's reads and writes fail; written bytes that the peer has
    /// not read may be lost.
    pub fn reset(self) {
        self.reset_now();
    }

    /// Waits until the stream has ended in both directions, without reading or writing. With it, a handler that computes
    /// can stop when the peer resets the stream. Any number of tasks may wait.
    ///
    /// # Errors
    ///
    /// Returns [`StreamError`] if the stream was reset by either end, or the session ended before the stream.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn closed(&self) -> Result<(), StreamError> {
        let notify = self.with(State::closed);
        let closed = |state: &mut State| state.core.poll_stream_closed(self.key);
        self.shared.until(&notify, closed).await
    }

    /// Splits the stream into a half that reads and a half that writes, for two tasks.
    ///
    /// Dropping the [`WriteHalf`] ends the write side as `shutdown` does. When both halves are dropped, the stream is.
    pub fn into_split(self) -> (ReadHalf, WriteHalf) {
        let stream = Arc::new(self);
        (ReadHalf::new(Arc::clone(&stream)), WriteHalf::new(stream))
    }

    pub(super) fn reset_now(&self) {
        self.with(|state, key| state.core.reset(key));
    }

    /// Ends the write side.
    pub(super) fn finish(&self) -> Result<(), StreamError> {
        self.with(State::finish)
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
        self.poll(cx, Direction::Read, |state, key| state.poll_read(key, copy))
    }

    /// Reads or writes.
    pub(super) fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        direction: Direction,
        poll: impl FnOnce(&mut State, Key) -> Poll<Result<T, StreamError>>,
    ) -> Poll<io::Result<T>> {
        let poll = |state: &mut State| poll(state, self.key);
        let polled = self.shared.poll(cx, self.key, direction, poll);
        polled.map_err(|error| error.into_io(direction))
    }

    fn with<T>(&self, action: impl FnOnce(&mut State, Key) -> T) -> T {
        self.shared.with(|state| action(state, self.key))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        drop(self.with(State::handle_dropped));
    }
}
