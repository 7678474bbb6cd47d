//! What a multiplexer in this process has to offer to be an actor.

use std::{future::Future, io};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::outcome::Outcome;

/// A multiplexer on tokio. Each method says in the tests' words what went wrong.
pub(crate) trait Multiplexer: Send + Sync + 'static {
    /// Its streams.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Whether what was written only leaves when it is flushed.
    const FLUSHES: bool;

    /// The number of a stream on the wire.
    fn id(stream: &Self::Stream) -> u32;

    /// Opens a stream.
    fn open(&self) -> impl Future<Output = Result<Self::Stream, Outcome>> + Send;

    /// The next stream of the other end, or `None` when no more will come.
    fn accept(&self) -> impl Future<Output = Option<Self::Stream>> + Send;

    /// Resets a stream.
    fn reset(stream: Self::Stream) -> Outcome;

    /// Tells the other end to open no more streams.
    fn go_away(&self) -> Outcome;

    /// Closes the session.
    fn close(&self) -> impl Future<Output = Outcome> + Send;

    /// Waits for the end of the session.
    fn ended(&self) -> impl Future<Output = Outcome> + Send;

    /// How many streams are open, where the engine counts them.
    fn open_streams(&self) -> Option<usize>;

    /// What an error of a stream means.
    fn explain(error: &io::Error) -> Outcome;
}
