//! A listener for the streams that the peer opens.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_core::{FusedStream, Stream as FuturesStream};

use crate::{
    driver::{State, Waiting},
    handle::Session,
    io::Stream,
};

/// Accepts the streams of the peer: a [`futures` `Stream`](futures_core::Stream) of them.
///
/// It ends with `None` when no stream will arrive any more. If the session failed, one error of the kind `NotConnected`
/// comes before, which contains the [`SessionError`](crate::SessionError). With the feature `axum` it is a listener of
/// `axum::serve`.
///
/// Dropping it stops accepting; accepted streams continue. New ones are not refused, because there may be other
/// listeners: they wait, up to [`Config::accept_backlog`](crate::Config::accept_backlog).
/// [`Session::go_away`] refuses them.
#[derive(Debug)]
pub struct Listener {
    session: Session,
    waiting: Waiting,
    is_done: bool,
}

impl Listener {
    /// Returns a listener for the streams that the peer opens on this session. Of several listeners each
    /// stream is returned to one.
    pub fn new(session: Session) -> Self {
        Self {
            session,
            waiting: Waiting::default(),
            is_done: false,
        }
    }

    /// Returns the session.
    ///
    /// Its [`peer_draining`](Session::peer_draining) is the signal for a server's graceful shutdown.
    /// [`closed`](Session::closed) comes too late for that: a peer that closes its session waits for the connections
    /// that are idle at the server.
    pub fn session(&self) -> &Session {
        &self.session
    }
}

impl FuturesStream for Listener {
    type Item = io::Result<Stream>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.is_done {
            return Poll::Ready(None);
        }
        let shared = this.session.shared();
        let waiting = &mut this.waiting;
        let accepted = shared.poll_until(cx, &shared.waits.accept, waiting, State::poll_accept);
        let next = ready!(accepted)
            .map(|key| key.map(|key| this.session.stream(key)))
            .map_err(|error| io::Error::new(io::ErrorKind::NotConnected, error))
            .transpose();
        this.is_done = !matches!(next, Some(Ok(_)));
        Poll::Ready(next)
    }
}

impl FusedStream for Listener {
    fn is_terminated(&self) -> bool {
        self.is_done
    }
}
