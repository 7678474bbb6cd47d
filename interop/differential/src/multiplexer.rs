//! The trait of a multiplexer in this process, from which an actor is built.

use std::{future::Future, io};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::outcome::Outcome;

/// A multiplexer on tokio. Each method reports failures as an [`Outcome`].
pub(crate) trait Multiplexer: Send + Sync + 'static {
    /// Its streams.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// `true` if written bytes are sent only on flush.
    const FLUSHES: bool;

    /// The number of a stream on the wire.
    fn id(stream: &Self::Stream) -> u32;

    /// Opens a stream.
    fn open(&self) -> impl Future<Output = Result<Self::Stream, Outcome>> + Send;

    /// The next stream of the other end, or `None` at the end of the session.
    fn accept(&self) -> impl Future<Output = Option<Self::Stream>> + Send;

    /// Resets a stream.
    fn reset(stream: Self::Stream) -> Outcome;

    /// Sends GoAway.
    fn go_away(&self) -> Outcome;

    /// Closes the session.
    fn close(&self) -> impl Future<Output = Outcome> + Send;

    /// Waits for the end of the session.
    fn ended(&self) -> impl Future<Output = Outcome> + Send;

    /// The number of open streams, if the implementation counts them.
    fn open_streams(&self) -> Option<usize>;

    /// Returns the meaning of an error of a stream.
    fn explain(error: &io::Error) -> Outcome;
}
