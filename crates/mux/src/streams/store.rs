//! The table of streams: slots for the handles, and a map from wire ids to slots.

use std::collections::HashMap;

use foldhash::quality::RandomState;
use slab::Slab;

use super::StreamEntry;

/// A reference to a stream that cannot be mistaken for a later stream in the same slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) slot: u32,
    pub(crate) id: u32,
}

/// All streams of a session. A stream is *live* while its id is known on the wire; its entry
/// stays until the handle was dropped as well.
#[derive(Debug, Default)]
pub(crate) struct Store {
    slots: Slab<StreamEntry>,
    /// The slot of each live id. The hash must not be guessable, because peers choose the ids, and it must be cheap,
    /// because it is computed for every frame.
    live: HashMap<u32, u32, RandomState>,
}

impl Store {
    /// The number of live streams.
    pub(crate) fn live(&self) -> usize {
        self.live.len()
    }

    /// Returns `true` if there is no entry, live or not.
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Adds a live stream whose id is not in use.
    pub(crate) fn insert(&mut self, entry: StreamEntry) -> Key {
        let id = entry.id;
        // Far fewer than 2^32 entries fit into memory.
        let slot = self.slots.insert(entry) as u32;
        let previous = self.live.insert(id, slot);
        debug_assert!(previous.is_none(), "stream id {id} was in use");
        Key { slot, id }
    }

    /// The live stream with this wire id.
    pub(crate) fn find(&self, id: u32) -> Option<Key> {
        count_work();
        self.live.get(&id).map(|slot| Key { slot: *slot, id })
    }

    pub(crate) fn get(&self, key: Key) -> Option<&StreamEntry> {
        count_work();
        self.slots
            .get(key.slot as usize)
            .filter(|entry| entry.id == key.id)
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut StreamEntry> {
        count_work();
        self.slots
            .get_mut(key.slot as usize)
            .filter(|entry| entry.id == key.id)
    }

    /// Removes the wire id; the entry stays. Returns whether the stream was live.
    pub(crate) fn remove_id(&mut self, key: Key) -> bool {
        let is_live = self.live.get(&key.id) == Some(&key.slot);
        if is_live {
            self.live.remove(&key.id);
            if self.live.is_empty() && self.live.capacity() > 1024 {
                self.live.shrink_to(64);
            }
        }
        is_live
    }

    /// Removes the entry of a stream that is not live any more.
    pub(crate) fn remove(&mut self, key: Key) {
        if self.get(key).is_some() {
            debug_assert!(self.find(key.id) != Some(key), "a live stream is removed");
            self.slots.remove(key.slot as usize);
            if self.slots.is_empty() && self.slots.capacity() > 1024 {
                self.slots = Slab::new();
            }
        }
    }

    /// The keys of all live streams.
    pub(crate) fn live_keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.live.iter().map(|(id, slot)| {
            count_work();
            Key {
                slot: *slot,
                id: *id,
            }
        })
    }

    /// The keys of all entries, live or not.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.slots.iter().map(|(slot, entry)| {
            count_work();
            Key {
                slot: slot as u32,
                id: entry.id,
            }
        })
    }
}

/// Counts the visits of streams for tests.
fn count_work() {
    #[cfg(any(test, fuzzing))]
    crate::core::harness::work::count();
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher as _;

    use super::super::Handshake;
    use super::*;

    fn entry(id: u32) -> StreamEntry {
        StreamEntry::new(id, Handshake::Done, 1)
    }

    #[test]
    fn a_reused_slot_is_not_the_old_stream() {
        let mut store = Store::default();
        let old = store.insert(entry(1));
        assert!(store.remove_id(old));
        store.remove(old);
        let new = store.insert(entry(3));
        assert_eq!(new.slot, old.slot);
        assert!(store.get(old).is_none());
        assert!(store.get_mut(old).is_none());
        store.remove(old);
        assert!(store.get(new).is_some());
    }

    #[test]
    fn a_retired_stream_is_unknown_on_the_wire_and_known_to_its_handle() {
        let mut store = Store::default();
        let key = store.insert(entry(1));
        assert_eq!(store.find(1), Some(key));
        assert!(store.remove_id(key));
        assert!(!store.remove_id(key));
        assert_eq!((store.find(1), store.live()), (None, 0));
        assert!(store.get(key).is_some());
        // The peer may use the id again: a new stream, and the old handle stays what it was.
        let again = store.insert(entry(1));
        assert!(!store.remove_id(key));
        assert_eq!(store.find(1), Some(again));
    }

    #[test]
    fn m10_two_tables_order_the_same_ids_differently() {
        // The order of one session says nothing about another, so ids cannot be chosen to
        // collide.
        let (one, other) = (RandomState::default(), RandomState::default());
        let differing =
            (0..100u32).filter(|id| one.hash_one(*id) >> 57 != other.hash_one(*id) >> 57);
        assert!(differing.count() > 50);
    }

    #[test]
    fn m10_ids_are_spread_over_the_table() {
        let hash = RandomState::default();
        for step in [1u32, 2, 256, 65_536] {
            let mut buckets = [0u32; 256];
            for index in 0..4096u32 {
                buckets[(hash.hash_one(index.wrapping_mul(step)) >> 57) as usize] += 1;
            }
            let most = buckets.iter().max().unwrap();
            assert!(
                *most < 400,
                "step {step}: {most} of 4096 ids share a bucket of 128"
            );
        }
    }
}
