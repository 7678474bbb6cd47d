//! The accept queue: streams of the peer that no task has accepted yet.

use std::{task::Poll, time::Instant};

use super::{ACK_DELAY, Core, Event, timing::Timer};
use crate::{
    config::INITIAL_WINDOW,
    error::SessionError,
    streams::{Handshake, Key, ResetBy, StreamEntry},
};

impl Core {
    /// Adds a stream that the peer has opened.
    pub(super) fn enqueue_accept(&mut self, id: u32) -> Key {
        let entry = StreamEntry::new(id, Handshake::Unaccepted, INITIAL_WINDOW);
        let key = self.store.insert(entry);
        self.accept_queue.push_back(key);
        self.events.push_back(Event::Acceptable);
        key
    }

    /// Takes the next stream that the peer has opened, or is pending. Its acknowledgement is sent with the
    /// next frame of the session, or after 5 ms.
    #[inline]
    pub(crate) fn accept(
        &mut self,
        now: impl FnOnce() -> Instant,
    ) -> Poll<Result<Option<Key>, SessionError>> {
        if let Some(key) = self.accept_queue.pop_front() {
            self.stats.accepted += 1;
            // Bytes that arrived before the session ended can still be read.
            if !self.is_over()
                && let Some(entry) = self.store.get_mut(key)
            {
                entry.handshake = Handshake::AckDue;
                self.handshakes_due.push_back(key);
                self.deadlines[Timer::Ack].get_or_insert_with(|| now() + ACK_DELAY);
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

    /// Removes a stream that has ended before it was accepted. Peers that flood the queue reset the streams that they
    /// have opened last, so it is searched from its end.
    pub(super) fn remove_unaccepted(&mut self, key: Key) {
        if let Some(at) = self.accept_queue.iter().rposition(|other| *other == key) {
            self.accept_queue.remove(at);
        }
        self.free_entry(key);
    }

    /// Resets the waiting streams, because none is accepted any more. A reset without ACK is a refusal, after which the
    /// peer may try again elsewhere.
    pub(super) fn refuse_unaccepted(&mut self) {
        while let Some(key) = self.accept_queue.pop_front() {
            self.reset_stream(key, ResetBy::Local);
        }
    }

    /// Frees the waiting streams of a session that has ended, when its last handle was dropped.
    pub(crate) fn drop_unaccepted(&mut self) {
        while self.is_over()
            && let Some(key) = self.accept_queue.pop_front()
        {
            self.free_entry(key);
        }
    }
}
