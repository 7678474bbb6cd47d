//! The future of opening a stream.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::FusedFuture;

use super::Session;
use crate::{driver::Ticket, error::OpenError, io::Stream};

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
    ticket: Ticket,
}

impl Open {
    pub(crate) fn new(session: Session) -> Self {
        Self {
            session: Some(session),
            ticket: Ticket::default(),
        }
    }
}

impl Future for Open {
    type Output = Result<Stream, OpenError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { session, ticket } = &mut *self;
        let Some(handle) = session else {
            return Poll::Pending;
        };
        let opened = std::task::ready!(handle.poll_open(cx, ticket));
        *session = None;
        Poll::Ready(opened)
    }
}

impl FusedFuture for Open {
    fn is_terminated(&self) -> bool {
        self.session.is_none()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(session) = &self.session {
            session.leave_opening(&mut self.ticket);
        }
    }
}
