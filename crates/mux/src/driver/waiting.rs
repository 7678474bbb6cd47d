//! Tasks that wait for something of the session, or for the end of a stream.

use std::{
    future::poll_fn,
    ops::Deref,
    task::{Context, Poll},
};

use super::{
    shared::{Shared, State, wakers},
    wakers::{Ticket, WaitSet, WakeList},
};
use crate::streams::Key;

/// What a task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// A stream of the peer.
    Accept,
    /// A place among the unacknowledged streams.
    Open,
    /// The peer's GoAway or the end of the session.
    End,
    /// The response to a ping.
    Pong,
    /// The end of a stream in both directions.
    Closed(Key),
}

/// A task that waits, through any reference to the session. It leaves its place when it is dropped.
#[derive(Debug)]
pub(crate) struct Waiting<S: Deref<Target = Shared>> {
    shared: S,
    wait: Wait,
    ticket: Ticket,
}

impl<S: Deref<Target = Shared>> Waiting<S> {
    pub(crate) fn new(shared: S, wait: Wait) -> Self {
        let ticket = Ticket::default();
        Self {
            shared,
            wait,
            ticket,
        }
    }

    /// Polls what it waits for, and keeps its place if that is pending.
    pub(crate) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut State) -> Poll<T>,
    ) -> Poll<T> {
        let Self {
            shared,
            wait,
            ticket,
        } = self;
        shared.poll(cx, |state, task| {
            let result = poll(state);
            let (set, wakes) = state.wait_set(*wait);
            if result.is_pending() {
                set.wait(ticket, task, wakes);
            } else {
                set.leave(ticket, wakes);
            }
            result
        })
    }

    /// Waits until `poll` is ready.
    pub(crate) async fn until<T>(mut self, mut poll: impl FnMut(&mut State) -> Poll<T>) -> T {
        poll_fn(|cx| self.poll(cx, &mut poll)).await
    }
}

impl<S: Deref<Target = Shared>> Drop for Waiting<S> {
    fn drop(&mut self) {
        if self.ticket.is_waiting() {
            let (wait, ticket) = (self.wait, &mut self.ticket);
            self.shared.with(|state| state.leave(wait, ticket));
        }
    }
}

impl State {
    fn wait_set(&mut self, wait: Wait) -> (&mut WaitSet, &mut WakeList) {
        let set = match wait {
            Wait::Accept => &mut self.accepting,
            Wait::Open => &mut self.opening,
            Wait::End => &mut self.ending,
            Wait::Pong => &mut self.pinging,
            Wait::Closed(key) => wakers(&mut self.streams, key)
                .closed
                .get_or_insert_default(),
        };
        (set, &mut self.wakes)
    }

    /// Stops waiting. The wake-up of an acceptor that did not use it goes to the next one; others are woken together.
    fn leave(&mut self, wait: Wait, ticket: &mut Ticket) {
        let (set, wakes) = self.wait_set(wait);
        if set.leave(ticket, wakes) && wait == Wait::Accept && self.core.has_unaccepted() {
            self.accepting.wake_one(&mut self.wakes);
        }
    }
}
