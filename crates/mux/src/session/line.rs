//! Who waits for a turn to write.

use std::collections::VecDeque;

use crate::streams::Key;

/// How many may stand in the line who are gone, beyond as many as are there.
const GONE: usize = 64;

/// Streams that wait: first those whose turn goes on, in the order in which their turns began, then the others,
/// first come, first served. Those who want to write little stand beside them and wait for nothing but room.
#[derive(Debug, Default)]
pub(super) struct Line {
    large: VecDeque<Place>,
    small: VecDeque<Key>,
    /// How many bytes of small writes have passed those who want to write much, since one of them was called.
    passed: usize,
    /// How many were called; after the largest number it begins anew.
    calls: u32,
    /// Some were called in this turn of the driver.
    pub(super) has_called: bool,
}

#[derive(Debug)]
struct Place {
    key: Key,
    /// The number of the turn that goes on. Those who have one stand first.
    turn: Option<u32>,
}

impl Line {
    /// Whether somebody waits to write much.
    pub(super) fn has_large(&self) -> bool {
        !self.large.is_empty()
    }

    /// Whether somebody waits to write little.
    pub(super) fn has_small(&self) -> bool {
        !self.small.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.large.is_empty() && self.small.is_empty()
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.large.len() + self.small.len()
    }

    /// A stream waits for a turn, or for room to go on with the one that it has. Numbers of turns begin anew
    /// after the last one.
    pub(super) fn stand(&mut self, key: Key, turn: Option<u32>) {
        let place = Place { key, turn };
        let Some(turn) = turn else {
            self.large.push_back(place);
            return;
        };
        let is_earlier = |other: &Place| {
            let other = other.turn;
            other.is_some_and(|other| turn.wrapping_sub(other).cast_signed() >= 0)
        };
        let at = self.large.partition_point(is_earlier);
        self.large.insert(at, place);
    }

    /// A stream waits for room to write little. One that was called and found none is the next.
    pub(super) fn stand_for_room(&mut self, key: Key, was_called: bool) {
        if was_called {
            self.small.push_front(key);
        } else {
            self.small.push_back(key);
        }
    }

    /// A small write passes those who want to write much.
    pub(super) fn pass(&mut self, length: u32) {
        if self.has_large() {
            self.passed = self.passed.saturating_add(length as usize);
        }
    }

    /// How many bytes have done so since one of these was called.
    pub(super) const fn passed(&self) -> usize {
        self.passed
    }

    /// The next stream, which waits no more, and the number of the turn that it has now unless it has one.
    pub(super) fn call(&mut self) -> Option<(Key, u32)> {
        let place = self.large.pop_front()?;
        self.has_called = true;
        self.passed = 0;
        self.calls = self.calls.wrapping_add(1);
        Some((place.key, self.calls))
    }

    /// The next of those who want to write little.
    pub(super) fn call_small(&mut self) -> Option<Key> {
        let key = self.small.pop_front()?;
        self.has_called = true;
        Some(key)
    }

    /// Whether most of those who stand here are gone, where there are `streams` of them.
    pub(super) fn is_stale(&self, streams: usize) -> bool {
        self.len() > 2 * streams + GONE
    }

    /// Only those stay for whom `is_there` says so.
    pub(super) fn retain(&mut self, is_there: impl Fn(Key) -> bool) {
        self.large.retain(|place| is_there(place.key));
        self.small.retain(|key| is_there(*key));
    }

    /// Nobody waits any more.
    pub(super) fn clear(&mut self) {
        self.large.clear();
        self.small.clear();
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
        for (id, turn) in [(1, None), (2, Some(7)), (3, Some(8)), (4, None)] {
            line.stand(key(id), turn);
        }
        assert_eq!(called(&mut line), Some(key(2)));
        assert!(line.has_called);
        line.stand(key(5), Some(6));
        line.stand(key(6), Some(8));
        line.stand(key(7), None);
        let rest: Vec<_> = std::iter::from_fn(|| called(&mut line)).collect();
        assert_eq!(rest, [5, 3, 6, 1, 4, 7].map(key));
        assert!(line.is_empty());
        for (id, turn) in [
            (8, None),
            (9, Some(u32::MAX)),
            (10, Some(0)),
            (11, Some(u32::MAX - 1)),
        ] {
            line.stand(key(id), turn);
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
        for (id, was_called) in [(1, false), (2, false), (3, true)] {
            line.stand_for_room(key(id), was_called);
        }
        line.stand(key(4), None);
        assert!(line.has_small() && line.has_large() && line.len() == 4);
        let small: Vec<_> = std::iter::from_fn(|| line.call_small()).collect();
        assert_eq!(small, [3, 1, 2].map(key));
        assert!(line.has_called && !line.has_small() && !line.is_empty());
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
            line.stand_for_room(key(id), false);
        }
        assert!(line.is_stale(17) && !line.is_stale(18));
        line.retain(|key| key.id % 20 == 5);
        line.stand(key(1), Some(1));
        let rest: Vec<_> = std::iter::from_fn(|| called(&mut line)).collect();
        assert_eq!(rest, [1, 5, 25, 45].map(key));
        let small: Vec<_> = std::iter::from_fn(|| line.call_small()).collect();
        assert_eq!(small, [5, 25, 45].map(key));
    }
}
