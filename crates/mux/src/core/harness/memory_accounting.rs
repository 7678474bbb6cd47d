//! Memory accounting: the number of bytes that a core holds for its peer.

use crate::{
    core::{Core, Event, MAX_BLOCK},
    frame::HEADER_LEN,
    streams::{Key, List, StreamEntry},
};

impl Core {
    /// The memory of a stream without its unread bytes.
    pub(crate) const ENTRY_COST: usize = size_of::<StreamEntry>();

    /// The bytes of everything that a peer can make grow.
    pub(crate) fn accounted_memory(&self) -> usize {
        let entries: usize = self
            .store
            .keys()
            .filter_map(|key| self.store.get(key))
            .map(|entry| Self::ENTRY_COST + entry.recv.capacity() + entry.recv.slices() * MAX_BLOCK)
            .sum();
        entries + self.queued()
    }

    /// The same without the streams: queued frames, waiting streams, events that were not taken.
    pub(crate) fn queued(&self) -> usize {
        let waiting = self.accept_queue.len() + self.handshakes_due.len() + self.scheduler.len();
        self.out.len()
            + self.replies.len() * HEADER_LEN
            + waiting * size_of::<Key>()
            + self.events.len() * size_of::<Event>()
    }

    /// Returns `true` if the stream waits for a grant.
    pub(crate) fn is_enqueued(&self, key: Key) -> bool {
        let entry = self.store.get(key);
        entry.is_some_and(|entry| entry.flow.list != List::None)
    }
}
