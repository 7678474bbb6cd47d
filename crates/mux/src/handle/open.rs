//! The future of opening a stream.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_core::FusedFuture;

use super::Session;
use crate::{
    driver::{State, Waiting},
    error::OpenError,
    io::Stream,
};

/// The future of [`Session::open`] and of `Connector`'s calls.
///
/// It owns a handle of the session. It is fused: polled after its result it stays pending and opens nothing.
///
/// # Cancel safety
///
/// Cancel safe: if it is dropped, it has opened nothing.
#[must_use = "futures do nothing unless they are polled"]
#[derive(Debug)]
pub struct Open {
    session: Option<Session>,
    waiting: Waiting,
}

impl Open {
    pub(super) fn new(session: Session) -> Self {
        Self {
            session: Some(session),
            waiting: Waiting::default(),
        }
    }
}

impl Future for Open {
    type Output = Result<Stream, OpenError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { session, waiting } = &mut *self;
        let Some(handle) = session else {
            return Poll::Pending;
        };
        let shared = handle.shared();
        let opened = shared.poll_until(cx, &shared.waits.open, waiting, State::poll_open);
        let opened = ready!(opened).map(|key| handle.stream(key));
        *session = None;
        Poll::Ready(opened)
    }
}

impl FusedFuture for Open {
    fn is_terminated(&self) -> bool {
        self.session.is_none()
    }
}
