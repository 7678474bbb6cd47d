//! Who waits to write, for a turn or for room.

use std::collections::VecDeque;

use crate::streams::Key;

/// How many may wait here who are gone, beyond as many as are there.
const GONE: usize = 64;

/// Streams that wait: in line those who want to write much, each for its turn, and beside it those who want to
/// write little and need nothing but room.
#[derive(Debug, Default)]
pub(super) struct Line {
    large: Queue,
    small: Queue,
    /// How many bytes of small writes have passed the line since somebody was called from it.
    passed: usize,
    /// How many were called; after the largest number it begins anew.
    calls: u32,
    /// Some were called in this turn of the driver.
    pub(super) has_called: bool,
}

/// First those who were called before and go on with that, in the order of their numbers, which begin anew after
/// the last one; then the others, first come, first served.
#[derive(Debug, Default)]
struct Queue(VecDeque<Place>);

#[derive(Debug)]
struct Place {
    key: Key,
    number: Option<u32>,
}

impl Queue {
    fn stand(&mut self, key: Key, number: Option<u32>) {
        let place = Place { key, number };
        let Some(number) = number else {
            self.0.push_back(place);
            return;
        };
        let is_earlier = |other: &Place| {
            let other = other.number;
            other.is_some_and(|other| number.wrapping_sub(other).cast_signed() >= 0)
        };
        let at = self.0.partition_point(is_earlier);
        self.0.insert(at, place);
    }
}

impl Line {
    /// Whether somebody waits for a turn.
    pub(super) fn has_large(&self) -> bool {
        !self.large.0.is_empty()
    }

    /// Whether somebody waits for room.
    pub(super) fn has_small(&self) -> bool {
        !self.small.0.is_empty()
    }

    /// Whether the next of them was called before, and found none.
    pub(super) fn has_late(&self) -> bool {
        let next = self.small.0.front();
        next.is_some_and(|place| place.number.is_some())
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.has_large() && !self.has_small()
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.large.0.len() + self.small.0.len()
    }

    /// A stream waits for a turn, or to go on with the one that has this number.
    pub(super) fn stand(&mut self, key: Key, poll: Option<u32>) {
        self.large.stand(key, poll);
    }

    /// A stream waits for room to write little. One that was called and found none has the number of its call.
    pub(super) fn stand_for_room(&mut self, key: Key, call: Option<u32>) {
        self.small.stand(key, call);
    }

    /// A small write passes those who stand in line.
    pub(super) fn pass(&mut self, length: u32) {
        if self.has_large() {
            self.passed = self.passed.saturating_add(length as usize);
        }
    }

    /// How many bytes have done so since one of these was called.
    pub(super) const fn passed(&self) -> usize {
        self.passed
    }

    /// The next of those who stand in line, who does so no more, and the number of the call.
    pub(super) fn call(&mut self) -> Option<(Key, u32)> {
        let place = self.large.0.pop_front()?;
        self.passed = 0;
        Some((place.key, self.count()))
    }

    /// The next of those who wait for room.
    pub(super) fn call_small(&mut self) -> Option<(Key, u32)> {
        let place = self.small.0.pop_front()?;
        Some((place.key, self.count()))
    }

    fn count(&mut self) -> u32 {
        self.has_called = true;
        self.calls = self.calls.wrapping_add(1);
        self.calls
    }

    /// Whether most of those who wait here are gone, where there are `streams` of them.
    pub(super) fn is_stale(&self, streams: usize) -> bool {
        self.len() > 2 * streams + GONE
    }

    /// Only those stay for whom `is_there` says so.
    pub(super) fn retain(&mut self, is_there: impl Fn(Key) -> bool) {
        for queue in [&mut self.large, &mut self.small] {
            queue.0.retain(|place| is_there(place.key));
        }
    }

    /// Nobody waits any more.
    pub(super) fn clear(&mut self) {
        self.retain(|_| false);
        self.passed = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn key(id: u32) -> Key {
        Key { slot: id, id }
    }

    fn called(line: &mut Line) -> Option<Key> {
        line.call().map(|(key, _)| key)
    }

    #[test]
    fn turns_go_on_in_their_order_and_nobody_passes_another() {
        let mut line = Line::default();
        assert!(line.call().is_none() && !line.has_called && line.is_empty());
        for (id, poll) in [(1, None), (2, Some(7)), (3, Some(8)), (4, None)] {
            line.stand(key(id), poll);
        }
        assert_eq!(called(&mut line), Some(key(2)));
        assert!(line.has_called);
        line.stand(key(5), Some(6));
        line.stand(key(6), Some(8));
        line.stand(key(7), None);
        let rest: Vec<_> = std::iter::from_fn(|| called(&mut line)).collect();
        assert_eq!(rest, [5, 3, 6, 1, 4, 7].map(key));
        assert!(line.is_empty());
        for (id, poll) in [
            (8, None),
            (9, Some(u32::MAX)),
            (10, Some(0)),
            (11, Some(u32::MAX - 1)),
        ] {
            line.stand(key(id), poll);
        }
        let rest: Vec<_> = std::iter::from_fn(|| called(&mut line)).collect();
        assert_eq!(rest, [11, 9, 10, 8].map(key));
    }

    #[test]
    fn calls_are_numbered_and_a_cleared_line_calls_nobody() {
        let mut line = Line::default();
        line.stand(key(1), Some(1));
        line.clear();
        assert!(line.is_empty());
        for id in [2, 3] {
            line.stand(key(id), None);
            assert_eq!(line.call(), Some((key(id), id - 1)));
        }
    }

    #[test]
    fn who_waits_for_room_stands_beside_the_others() {
        let mut line = Line::default();
        for (id, call) in [(1, None), (2, Some(8)), (3, None), (4, Some(7))] {
            line.stand_for_room(key(id), call);
        }
        line.stand(key(5), None);
        assert!(line.has_small() && line.has_large() && line.len() == 5);
        assert!(line.has_late());
        let small: Vec<_> = std::iter::from_fn(|| line.call_small()).collect();
        assert_eq!(
            small,
            [(4, 1), (2, 2), (1, 3), (3, 4)].map(|(id, call)| (key(id), call))
        );
        assert!(line.has_called && !line.has_small() && !line.is_empty());
        line.stand_for_room(key(1), None);
        assert!(!line.has_late());
        line.call_small();
        assert_eq!(line.call(), Some((key(5), 6)));
    }

    #[test]
    fn what_passes_is_counted_until_somebody_is_called() {
        let mut line = Line::default();
        line.pass(1);
        assert_eq!(line.passed(), 0, "nobody waits");
        line.stand(key(1), None);
        line.pass(2);
        line.pass(3);
        assert_eq!(line.passed(), 5);
        line.call();
        assert_eq!(line.passed(), 0);
        line.stand(key(1), None);
        line.pass(1);
        line.clear();
        assert_eq!(line.passed(), 0);
    }

    #[test]
    fn those_who_are_gone_can_be_forgotten() {
        let mut line = Line::default();
        for id in 0..50 {
            line.stand(key(id), (id < 20).then_some(id));
            line.stand_for_room(key(id), None);
        }
        assert!(line.is_stale(17) && !line.is_stale(18));
        line.retain(|key| key.id % 20 == 5);
        line.stand(key(1), Some(1));
        let rest: Vec<_> = std::iter::from_fn(|| called(&mut line)).collect();
        assert_eq!(rest, [1, 5, 25, 45].map(key));
        let small: Vec<_> = std::iter::from_fn(|| line.call_small().map(|(key, _)| key)).collect();
        assert_eq!(small, [5, 25, 45].map(key));
    }
}
