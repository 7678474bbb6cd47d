//! One stream of a session.

use std::{fmt, sync::Arc};

use crate::{
    config::Role,
    driver::{Shared, State},
    error::StreamId,
    info::StreamInfo,
    streams::Key,
};

/// One stream of a session: a reliable byte stream in both directions.
///
/// It implements tokio's [`AsyncRead`](tokio::io::AsyncRead) and
/// [`AsyncWrite`](tokio::io::AsyncWrite), and hyper's `Read` and `Write`. It is `Send + Sync`,
/// and its halves (`tokio::io::split`) can live in two tasks.
///
/// # Sending
///
/// Writes are taken while the peer's window and the session's queue have room. Bytes that were
/// taken are delivered in order, whatever happens to the stream after, unless it is
/// [`reset`](Self::reset) or the session fails. Small writes leave when the task flushes, waits
/// for the peer in a read, or yields; there is no need to flush.
///
/// # Closing
///
/// `shutdown` ends the write side (FIN); reading goes on. Dropping the stream delivers what was
/// written and then ends it: the peer reads everything and then the end. Bytes that were not
/// read are dropped; a peer that goes on sending more than its window to a dropped stream is told
/// with a reset. The stream counts as open until the peer has finished it too, or
/// [`Config::close_timeout`](crate::Config::close_timeout) has passed.
///
/// # Cancel safety
///
/// Reads and writes are cancel safe: a future of `read`, `write` or `flush` that was dropped
/// before it was ready has transferred nothing. `write_all` and `read_exact` are not, as with
/// every tokio stream.
pub struct Stream {
    shared: Arc<Shared>,
    key: Key,
}

impl Stream {
    pub(crate) fn new(shared: Arc<Shared>, key: Key) -> Self {
        Self { shared, key }
    }

    /// The number of the stream on the wire.
    pub fn id(&self) -> StreamId {
        StreamId(self.key.id)
    }

    /// Which side of the session this end is.
    pub fn role(&self) -> Role {
        self.shared.with(|state| state.core.role())
    }

    /// The facts of the stream that request handlers want.
    pub fn info(&self) -> StreamInfo {
        let (role, peer) = self
            .shared
            .with(|state| (state.core.role(), state.core.peer()));
        StreamInfo {
            id: self.id(),
            role,
            peer,
        }
    }

    /// Ends both directions at once. The peer's reads and writes fail, and so do ours; what
    /// was written but not yet read by the peer may be lost.
    pub fn reset(&mut self) {
        self.with(|state, key| state.reset(key));
    }

    pub(super) fn with<T>(&self, action: impl FnOnce(&mut State, Key) -> T) -> T {
        self.shared.with(|state| action(state, self.key))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.with(|state, key| state.handle_dropped(key));
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("id", &self.key.id)
            .finish_non_exhaustive()
    }
}
