//! Who waits for a turn to write.

use std::collections::VecDeque;

use crate::streams::Key;

/// Streams that wait: first those whose turn goes on, in the order in which their turns began, then the others,
/// first come, first served.
#[derive(Debug, Default)]
pub(super) struct Line {
    keys: VecDeque<Key>,
    /// The numbers of the turns of those who stand first.
    turns: VecDeque<u32>,
    /// How many were called; after the largest number it begins anew.
    calls: u32,
    /// Some were called in this turn of the driver.
    pub(super) has_called: bool,
}

impl Line {
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many wait.
    #[cfg(any(test, fuzzing))]
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// A stream waits for a turn, or for room to go on with the one that it has. Numbers of turns begin anew
    /// after the last one.
    pub(super) fn stand(&mut self, key: Key, turn: Option<u32>) {
        let Some(turn) = turn else {
            self.keys.push_back(key);
            return;
        };
        let is_earlier = |other: &u32| turn.wrapping_sub(*other).cast_signed() >= 0;
        let place = self.turns.partition_point(is_earlier);
        self.turns.insert(place, turn);
        self.keys.insert(place, key);
    }

    /// The next stream, which waits no more, and the number of the turn that it has now unless it has one.
    pub(super) fn call(&mut self) -> Option<(Key, u32)> {
        let key = self.keys.pop_front()?;
        self.turns.pop_front();
        self.has_called = true;
        self.calls = self.calls.wrapping_add(1);
        Some((key, self.calls))
    }

    /// Nobody waits any more.
    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.turns.clear();
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
        assert!(line.call().is_none() && !line.has_called);
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
    fn calls_are_numbered_and_nobody_is_called_who_is_gone() {
        let mut line = Line::default();
        line.stand(key(1), Some(1));
        line.clear();
        assert!(line.is_empty());
        for id in [2, 3] {
            line.stand(key(id), None);
            assert_eq!(line.call(), Some((key(id), id - 1)));
        }
    }
}
