//! The accept queue: streams of the peer that no task has accepted yet.

use std::{
    collections::{HashSet, VecDeque},
    task::Poll,
    time::Instant,
};

use super::{ACK_DELAY, Core, Event};
use crate::{
    config::INITIAL_WINDOW,
    error::SessionError,
    streams::{Handshake, Key, ResetBy, Store, StreamEntry},
};

/// The streams in their order. One that ends while it waits stays in the list until it is skipped or compacted.
///
/// Invariant: `live` is the number of streams in the list that are live and not accepted.
#[derive(Debug, Default)]
pub(super) struct AcceptQueue {
    keys: VecDeque<Key>,
    live: usize,
}

impl AcceptQueue {
    /// How many live streams wait.
    pub(super) const fn live(&self) -> usize {
        self.live
    }

    fn push(&mut self, key: Key) {
        self.keys.push_back(key);
        self.live += 1;
    }

    /// A stream that waits is no longer live, or was accepted.
    pub(super) fn leave(&mut self) {
        self.live -= 1;
    }

    /// Drops streams that ended while they waited, before they pile up. The key of an id that came again may equal
    /// that of the stream before, so this must be done before it is in use again, and of several equal ones one stays.
    fn compact(&mut self, store: &Store, limit: usize) {
        if self.keys.len() > 2 * limit {
            let mut seen = HashSet::new();
            self.keys
                .retain(|key| store.find(key.id) == Some(*key) && seen.insert(key.id));
        }
    }

    /// Drops the streams of which nothing is left.
    pub(super) fn retain_entries(&mut self, store: &Store) {
        self.keys.retain(|key| store.get(*key).is_some());
    }

    /// How many keys are in the list.
    #[cfg(any(test, fuzzing))]
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }
}

impl Core {
    /// Adds a stream that the peer has opened.
    pub(super) fn enqueue_accept(&mut self, id: u32) -> Key {
        let limit = self.config.accept_backlog;
        self.accept_queue.compact(&self.store, limit);
        let mut entry = StreamEntry::new(id, Handshake::Unaccepted, INITIAL_WINDOW);
        entry.is_unaccepted = true;
        let key = self.store.insert(entry);
        self.accept_queue.push(key);
        self.events.push_back(Event::Acceptable);
        key
    }

    /// Takes the next stream that the peer has opened, or is pending. Its acknowledgement leaves with its first
    /// frame, with anything else that leaves, or after 5 ms.
    pub(crate) fn accept(
        &mut self,
        now: impl FnOnce() -> Instant,
    ) -> Poll<Result<Option<Key>, SessionError>> {
        while let Some(key) = self.accept_queue.keys.pop_front() {
            let is_live = self.store.find(key.id) == Some(key);
            let Some(entry) = self.store.get_mut(key) else {
                continue;
            };
            if !std::mem::take(&mut entry.is_unaccepted) {
                continue;
            }
            self.stats.accepted += 1;
            // Of a session that has ended, what arrived before can still be read.
            if is_live {
                entry.handshake = Handshake::AckDue;
                self.accept_queue.leave();
                self.handshakes_due.push_back(key);
                self.ack_deadline.get_or_insert_with(|| now() + ACK_DELAY);
            }
            return Poll::Ready(Ok(Some(key)));
        }
        match self.outcome() {
            Some(Ok(())) => Poll::Ready(Ok(None)),
            Some(Err(error)) => Poll::Ready(Err(error.clone())),
            None if self.local_go_away => Poll::Ready(Ok(None)),
            None => Poll::Pending,
        }
    }

    /// Whether another stream can be accepted, so that one wake-up can be passed on.
    pub(crate) const fn has_unaccepted(&self) -> bool {
        self.accept_queue.live() > 0
    }

    /// Resets the streams that wait, because none is accepted any more. The reset comes without ACK, so the peer
    /// knows that it may try again elsewhere.
    pub(super) fn refuse_unaccepted(&mut self) {
        while let Some(key) = self.accept_queue.keys.pop_front() {
            if self.store.find(key.id) == Some(key) {
                self.reset_stream(key, ResetBy::Local);
            }
        }
    }

    /// Frees the streams that wait after the session has ended, when no handle is left that could accept them.
    pub(crate) fn drop_unaccepted(&mut self) {
        if !self.is_over() {
            return;
        }
        while let Some(key) = self.accept_queue.keys.pop_front() {
            let entry = self.store.get(key);
            if entry.is_some_and(|entry| entry.is_unaccepted) {
                self.free_entry(key);
            }
        }
    }
}
