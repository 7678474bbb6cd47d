//! The server's side: the streams that the peer opens.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::Stream as FuturesStream;

use crate::{
    error::AcceptError,
    handle::{Accepting, Closed, Session},
    io::Stream,
};

/// Accepts the peer's streams.
///
/// It is a [`futures` `Stream`](futures_core::Stream) that ends when no stream will come any
/// more: cleanly with `None`, or with one error when the session failed. Dropping it accepts no more; streams
/// that were accepted go on. New ones are not refused, because there may be other listeners: they wait, up
/// to [`Config::accept_backlog`](crate::Config::accept_backlog). [`Session::go_away`] refuses them.
#[derive(Debug)]
pub struct Listener {
    session: Session,
    accepting: Accepting,
    is_done: bool,
}

impl Listener {
    /// A listener for the streams that the peer opens on this session. Of several listeners each
    /// stream goes to one.
    pub fn new(session: Session) -> Self {
        let accepting = session.accept();
        Self {
            session,
            accepting,
            is_done: false,
        }
    }

    /// Returns the session.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Waits for the next stream.
    ///
    /// # Errors
    ///
    /// No stream will come any more.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a future that was dropped has accepted nothing, and no stream is lost.
    pub fn accept(&mut self) -> impl Future<Output = Result<Stream, AcceptError>> + Send {
        // The listener's own future, so that two calls do not wait twice.
        &mut self.accepting
    }

    /// Waits for the end of the session.
    ///
    /// It is no good signal for the graceful shutdown of a server: the session of a peer that closes it waits
    /// for the connections that are idle at the server. [`Session::peer_draining`] comes before.
    ///
    /// # Errors
    ///
    /// The session failed.
    pub fn closed(&self) -> Closed {
        self.session.closed()
    }
}

impl FuturesStream for Listener {
    type Item = io::Result<Stream>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_done {
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.accepting).poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(stream)) => Poll::Ready(Some(Ok(stream))),
            Poll::Ready(Err(error)) => {
                self.is_done = true;
                match error {
                    AcceptError::Closed => Poll::Ready(None),
                    error => Poll::Ready(Some(Err(error.into()))),
                }
            }
        }
    }
}
