//! What an engine is: anything that opens and accepts streams on one connection.

use std::{error::Error, future::Future};

use crate::{
    error::{AcceptError, OpenError, SessionError},
    handle::{Accepting, Closed, Opening, Session},
    io::Stream,
};

/// A multiplexer on one connection, as [`Connector`](crate::Connector) and
/// [`Listener`](crate::Listener) need it. [`Session`] is the one of this crate.
///
/// The futures own what they need, so that services can return them.
pub trait Engine: Clone + Send + Sync + 'static {
    /// A byte stream between the two ends.
    type Stream: Send + Unpin + 'static;
    /// Why no stream could be opened.
    type OpenError: Error + Send + Sync + 'static;
    /// Why none can be accepted any more.
    type AcceptError: Error + Send + Sync + 'static;
    /// Why the session failed.
    type CloseError: Error + Send + Sync + 'static;
    /// The future of [`open`](Self::open).
    type Opening: Future<Output = Result<Self::Stream, Self::OpenError>> + Send + Unpin + 'static;
    /// The future of [`accept`](Self::accept); it can be polled again after each stream.
    type Accepting: Future<Output = Result<Self::Stream, Self::AcceptError>>
        + Send
        + Unpin
        + 'static;
    /// The future of [`close`](Self::close) and [`closed`](Self::closed).
    type Closed: Future<Output = Result<(), Self::CloseError>> + Send + Unpin + 'static;

    /// Opens a stream.
    fn open(&self) -> Self::Opening;

    /// Waits for a stream of the peer.
    fn accept(&self) -> Self::Accepting;

    /// Ends the session cleanly within a bounded time.
    fn close(&self) -> Self::Closed;

    /// Waits for the end of the session.
    fn closed(&self) -> Self::Closed;

    /// Whether an error of [`accept`](Self::accept) means a clean end, which is no failure.
    fn is_clean(error: &Self::AcceptError) -> bool;
}

impl Engine for Session {
    type Stream = Stream;
    type OpenError = OpenError;
    type AcceptError = AcceptError;
    type CloseError = SessionError;
    type Opening = Opening;
    type Accepting = Accepting;
    type Closed = Closed;

    fn open(&self) -> Opening {
        Self::open(self)
    }

    fn accept(&self) -> Accepting {
        Self::accept(self)
    }

    fn close(&self) -> Closed {
        Self::close(self)
    }

    fn closed(&self) -> Closed {
        Self::closed(self)
    }

    fn is_clean(error: &AcceptError) -> bool {
        matches!(error, AcceptError::Closed)
    }
}
