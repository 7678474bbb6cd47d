//! What a stream has of the connection: its place among those who wait, its turn, and how much it writes.

use crate::frame::MAX_PAYLOAD;

/// From this size on a write waits in line where others write as well. Smaller ones are what asks and answers.
pub(crate) const LARGE_WRITE: usize = 4 * 1024;

/// How much a stream may send at once by writes that are smaller. Who sends more is not somebody who asks or
/// answers, and waits as those who write much at a time.
const SMALL_WRITES: u32 = 16 * 1024;

/// How much of that comes back with each go.
const SMALL_WRITES_IN_A_GO: u32 = 4 * 1024;

/// How much a stream may send in one turn while others want to send much as well, as far as its window
/// lasts and the connection takes all at once. What it sends next is in the processor's caches then, like
/// the buffer that its reader reads into; streams that take turns for less push each other's out.
const TURN: u32 = 1024 * 1024;

/// For how many goes it is remembered that a stream wrote much.
const MEMORY: u32 = 64;

/// How a stream shares the connection with the others. Goes are numbered, and the numbers begin anew after
/// the last one.
#[derive(Debug, Default)]
pub(crate) struct Share {
    /// It waits in the line for a turn to write.
    in_line: bool,
    /// It was called from the line and has not written since.
    is_called: bool,
    /// It was called the last time as well, but came too late.
    is_late: bool,
    /// How many bytes it wanted to write when it came to wait.
    wanted: u32,
    /// How many bytes it may send before its turn is another's. Others write while it has no window, so the
    /// turns of several streams may go on; none begins anew before it has ended.
    left: u32,
    /// The number of its last turn.
    turn: u32,
    /// In which go it wrote little last, or was called to write much.
    go: u32,
    /// How much it had sent then by small writes, without what has come back.
    small: u32,
    /// In which go it wrote much last.
    large: Option<u32>,
}

impl Share {
    /// Whether a write of `wanted` bytes passes those who wait for the room of a whole frame. What is part of
    /// something large passes nobody `in_company`.
    pub(crate) const fn is_small(&self, wanted: usize, go: u32, in_company: bool) -> bool {
        let is_part = in_company && self.writes_much(go);
        wanted < LARGE_WRITE && self.small(go) < SMALL_WRITES && !is_part
    }

    /// How much it has sent by small writes, without what has come back.
    const fn small(&self, go: u32) -> u32 {
        let goes = go.wrapping_sub(self.go);
        self.small
            .saturating_sub(goes.saturating_mul(SMALL_WRITES_IN_A_GO))
    }

    /// Whether its small writes are parts of something large, like the head before a body.
    pub(crate) const fn writes_much(&self, go: u32) -> bool {
        match self.large {
            Some(large) => go.wrapping_sub(large) <= MEMORY,
            None => false,
        }
    }

    /// Whether a turn of it goes on.
    pub(crate) const fn has_turn(&self) -> bool {
        self.left > 0
    }

    /// Where others write little, a turn is a frame, in whatever pieces.
    pub(crate) fn shorten_turn(&mut self) {
        self.left = self.left.min(MAX_PAYLOAD as u32);
    }

    /// `length` bytes of its last write were not sent after all. A turn that has ended stays so.
    pub(crate) const fn take_back(&mut self, length: u32) {
        if self.left > 0 {
            self.left += length;
        }
    }

    /// Whether it waits in the line.
    pub(crate) const fn is_in_line(&self) -> bool {
        self.in_line
    }

    /// Whether it was called. That is good for one write.
    pub(crate) const fn take_call(&mut self) -> bool {
        std::mem::replace(&mut self.is_called, false)
    }

    /// Whether it was called before, and came too late.
    pub(crate) const fn is_late(&self) -> bool {
        self.is_late
    }

    /// It is to wait, unless it does already. With a turn to go on with it says the number of that.
    pub(crate) fn wait(
        &mut self,
        wanted: usize,
        was_called: bool,
        has_turn: bool,
    ) -> Option<Option<u32>> {
        if self.in_line {
            return None;
        }
        self.in_line = true;
        self.is_late = was_called;
        self.wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        if !has_turn {
            self.left = 0;
        }
        Some(has_turn.then_some(self.turn))
    }

    /// It is the next to write much. A turn that begins has the number `turn`.
    pub(crate) const fn call(&mut self, go: u32, turn: u32) {
        self.in_line = false;
        self.is_called = true;
        // What it waits with stays what it was, so nothing comes back for it.
        self.go = go;
        if self.left == 0 {
            self.left = TURN;
            self.turn = turn;
        }
    }

    /// There is room for the little that it wants to write. Says how much that is.
    pub(crate) const fn call_small(&mut self) -> usize {
        self.in_line = false;
        self.is_called = true;
        self.wanted as usize
    }

    /// It sends `length` of `wanted` bytes.
    pub(crate) fn send(&mut self, length: u32, wanted: usize, go: u32) {
        self.is_late = false;
        self.left = self.left.saturating_sub(length);
        let small = self.small(go);
        if wanted >= LARGE_WRITE || small >= SMALL_WRITES {
            self.large = Some(go);
        } else {
            self.go = go;
            self.small = small + length;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_writes_are_large_when_there_are_many() {
        let mut share = Share::default();
        assert!(!share.is_small(4_096, 0, false) && share.is_small(4_095, 0, true));
        share.send(16_383, 1, 0);
        assert!(share.is_small(1, 0, true), "there is one byte left");
        share.send(1, 1, 0);
        for go in 0..10 {
            assert!(!share.is_small(1, go, false));
            assert!(share.is_small(1, go + 1, true));
            share.send(4_095, 1, go + 1);
            assert!(share.is_small(1, go + 1, true));
            share.send(1, 1, go + 1);
        }
        share.send(16_383, 1, 14);
        assert!(share.is_small(1, 14, true), "all has come back");
        assert!(!share.writes_much(14));
    }

    #[test]
    fn the_rest_of_something_large_is_not_small_when_its_stream_is_called() {
        let mut share = Share::default();
        share.send(16_384, 1, 3);
        assert_eq!(share.wait(1, false, false), Some(None));
        share.call(40, 1);
        assert!(!share.is_small(1, 40, false) && share.is_small(1, 41, false));
        share.send(1, 1, 40);
        assert!(share.writes_much(40));
    }

    #[test]
    fn who_waits_for_room_gets_back_what_each_go_gives() {
        let mut share = Share::default();
        for go in 0..1000 {
            assert_eq!(share.wait(64, false, false), Some(None));
            assert_eq!(share.call_small(), 64);
            assert!(share.is_small(64, go, false) && !share.has_turn());
            assert!(share.take_call());
            share.send(64, 64, go);
        }
    }

    #[test]
    fn what_was_taken_back_can_be_sent_in_the_same_turn() {
        let mut share = Share::default();
        share.call(0, 1);
        share.send(1 << 19, usize::MAX, 0);
        share.take_back(1 << 18);
        share.send((1 << 18) + (1 << 19) - 1, usize::MAX, 0);
        assert!(share.has_turn());
        share.send(1, usize::MAX, 0);
        share.take_back(1);
        assert!(!share.has_turn(), "it has ended");
    }

    #[test]
    fn a_turn_can_be_shortened_to_a_frame() {
        let mut share = Share::default();
        share.shorten_turn();
        assert!(!share.has_turn());
        share.call(0, 1);
        for _ in 0..2 {
            share.shorten_turn();
            assert!(share.has_turn());
            share.send(8_192, 8_192, 0);
        }
        assert!(!share.has_turn());
    }

    #[test]
    fn a_stream_that_writes_much_is_remembered_for_64_goes() {
        let mut share = Share::default();
        share.send(1, 1, 0);
        assert!(!share.writes_much(0) && !share.writes_much(u32::MAX));
        share.send(1, 4_096, u32::MAX);
        for go in [u32::MAX, 63] {
            assert!(share.writes_much(go));
            assert!(share.is_small(1, go, false) && !share.is_small(1, go, true));
            // What it writes then is no reason to remember it longer.
            share.send(1, 1, go);
        }
        assert!(!share.writes_much(64) && share.is_small(1, 64, true));
    }

    #[test]
    fn a_turn_is_a_mebibyte_and_ends_for_who_waits_without_it() {
        let mut share = Share::default();
        assert!(!share.has_turn());
        for turn in [5, 6] {
            assert_eq!(share.wait(usize::MAX, false, false), Some(None));
            share.call(0, turn);
            share.send((1 << 20) - 1, usize::MAX, 0);
            assert!(share.has_turn());
        }
        assert_eq!(share.wait(1, false, true), Some(Some(6)));
        share.call(0, 7);
        share.send(1, usize::MAX, 0);
        assert!(!share.has_turn(), "it was called to go on");
        assert_eq!(share.wait(1, false, true), Some(Some(6)));
        share.call(0, 8);
        assert!(share.has_turn(), "and here for another turn");
        assert_eq!(share.wait(1, false, true), Some(Some(8)));
    }

    #[test]
    fn a_call_is_good_for_one_write_and_a_stream_waits_once() {
        let mut share = Share::default();
        assert!(!share.take_call());
        assert!(share.wait(1, false, false).is_some() && share.wait(2, false, false).is_none());
        share.call(0, 1);
        assert!(share.take_call() && !share.take_call());
        assert!(!share.is_late());
        assert!(share.wait(2, true, true).is_some());
        share.call(0, 2);
        assert!(share.is_late());
        share.send(1, 2, 0);
        assert!(!share.is_late());
    }
}
