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

/// The same where somebody waits for what others send: a small answer, or anything on a slow connection. What
/// exceeds a turn is a part of the next one.
const FRAME: u32 = MAX_PAYLOAD as u32;

/// For how many goes it is remembered that a stream wrote much.
const MEMORY: u32 = 64;

/// Whether a stream waits to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Waiting {
    #[default]
    No,
    Yes,
    /// It was called, and has not come since.
    Called,
}

impl Waiting {
    /// Whether the stream was called. That is good for one write.
    const fn take_call(&mut self) -> bool {
        let is_called = matches!(self, Self::Called);
        if is_called {
            *self = Self::No;
        }
        is_called
    }
}

/// How a stream shares the connection with the others. Goes and calls are numbered, and the numbers begin anew
/// after the last one.
#[derive(Debug, Default)]
pub(crate) struct Share {
    /// In line, for a turn to write much.
    for_turn: Waiting,
    /// Beside the line, for room to write little.
    for_room: Waiting,
    /// It was called from the line the last time as well, but came too late.
    is_late: bool,
    /// How many bytes it wanted to write when it came to wait for room.
    wanted: u32,
    /// A turn of it goes on. Others write while it has no window, so the turns of several streams may go on; none
    /// begins anew before it has ended.
    has_turn: bool,
    /// How many bytes it has sent in its turn, or before that one too many in the last.
    sent: u32,
    /// The number of the call with which its last turn began.
    poll: u32,
    /// The number of its last call for room.
    call: u32,
    /// In which go it wrote little last, or was called from the line.
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

    /// Whether a turn of it goes on, and it need not stand in line for more. Where somebody waits for what others
    /// send, `is_short` ends a turn early.
    pub(crate) fn keeps_turn(&mut self, is_short: bool) -> bool {
        let limit = if is_short { FRAME } else { TURN };
        if self.has_turn && self.sent >= limit {
            self.has_turn = false;
            self.sent = (self.sent - limit).min(FRAME - 1);
        }
        self.has_turn && !self.is_in_line()
    }

    /// `length` bytes of its last write were not sent after all.
    pub(crate) const fn refund(&mut self, length: u32) {
        if self.has_turn {
            self.sent = self.sent.saturating_sub(length);
        }
    }

    /// Whether it stands in line.
    pub(crate) fn is_in_line(&self) -> bool {
        self.for_turn == Waiting::Yes
    }

    /// Whether it waits for room.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn waits_for_room(&self) -> bool {
        self.for_room == Waiting::Yes
    }

    /// Whether it was called for a write like this one. A call for little is good for little only.
    pub(crate) const fn take_call(&mut self, is_small: bool) -> bool {
        let has_room = self.for_room.take_call();
        self.for_turn.take_call() || (is_small && has_room)
    }

    /// Whether it was called before, and came too late.
    pub(crate) const fn is_late(&self) -> bool {
        self.is_late
    }

    /// It is to stand in line, unless it does already. With a turn to go on with it says the number of that.
    pub(crate) fn wait(&mut self, was_called: bool) -> Option<Option<u32>> {
        if self.is_in_line() {
            return None;
        }
        self.for_turn = Waiting::Yes;
        self.is_late = was_called;
        Some((was_called || self.has_turn).then_some(self.poll))
    }

    /// It is to wait for room, unless it does already. If it was called for that it says the number of the call.
    pub(crate) fn wait_for_room(&mut self, wanted: usize, was_called: bool) -> Option<Option<u32>> {
        self.wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        if self.for_room == Waiting::Yes {
            return None;
        }
        self.for_room = Waiting::Yes;
        Some(was_called.then_some(self.call))
    }

    /// It is the next to write much, to go on with its turn or to begin one with this number.
    pub(crate) const fn call(&mut self, go: u32, number: u32) {
        self.for_turn = Waiting::Called;
        // What it waits with stays what it was, so nothing comes back for it.
        self.go = go;
        if !self.has_turn {
            self.has_turn = true;
            self.poll = number;
        }
    }

    /// There is room for the little that it wants to write. Returns how much that is.
    pub(crate) const fn call_small(&mut self, number: u32) -> usize {
        self.for_room = Waiting::Called;
        self.call = number;
        self.wanted as usize
    }

    /// It sends `length` of `wanted` bytes.
    pub(crate) fn send(&mut self, length: u32, wanted: usize, go: u32) {
        self.is_late = false;
        if self.has_turn {
            self.sent = self.sent.saturating_add(length);
        }
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
        assert_eq!(share.wait(false), Some(None));
        share.call(40, 1);
        assert!(!share.is_small(1, 40, false) && share.is_small(1, 41, false));
        share.send(1, 1, 40);
        assert!(share.writes_much(40));
    }

    #[test]
    fn who_waits_for_room_gets_back_what_each_go_gives() {
        let mut share = Share::default();
        for go in 0..1000 {
            assert_eq!(share.wait_for_room(64, false), Some(None));
            assert_eq!(share.call_small(1), 64);
            assert!(share.is_small(64, go, false) && !share.keeps_turn(false));
            assert!(share.take_call(true));
            share.send(64, 64, go);
        }
    }

    #[test]
    fn what_was_taken_back_can_be_sent_in_the_same_turn() {
        let mut share = Share::default();
        share.refund(1);
        share.call(0, 1);
        share.send(1 << 19, usize::MAX, 0);
        share.refund(1 << 18);
        share.send((1 << 18) + (1 << 19) - 1, usize::MAX, 0);
        assert!(share.keeps_turn(false));
        share.send(1, usize::MAX, 0);
        assert!(!share.keeps_turn(false));
    }

    #[test]
    fn a_turn_can_be_ended_after_a_frame() {
        let mut share = Share::default();
        assert!(!share.keeps_turn(true));
        for _ in 0..2 {
            share.call(0, 1);
            for _ in 0..2 {
                assert!(share.keeps_turn(true));
                share.send(8_192, 8_192, 0);
            }
            assert!(!share.keeps_turn(true));
        }
        share.call(0, 1);
        share.send(1 << 19, usize::MAX, 0);
        assert!(share.keeps_turn(false) && !share.keeps_turn(true) && !share.keeps_turn(false));
    }

    #[test]
    fn what_exceeds_a_turn_is_a_part_of_the_next_one() {
        let mut share = Share::default();
        let mut sent = 0;
        for poll in 1..=100 {
            share.call(0, poll);
            while share.keeps_turn(true) {
                share.send(9_000, 9_000, 0);
                sent += 9_000;
            }
            assert!(
                sent >= poll * 16_384 && sent < poll * 16_384 + 9_000,
                "{sent} in {poll}"
            );
        }
        share.call(0, 101);
        share.send(1 << 19, usize::MAX, 0);
        assert!(!share.keeps_turn(true));
        share.call(0, 102);
        assert!(
            share.keeps_turn(true),
            "something is left of the next one in any case"
        );
        share.send(1, 9_000, 0);
        assert!(!share.keeps_turn(true));
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
    fn a_turn_is_a_mebibyte_and_goes_on_after_waiting() {
        let mut share = Share::default();
        assert!(!share.keeps_turn(false));
        assert_eq!(share.wait(false), Some(None));
        share.call(0, 6);
        share.send((1 << 20) - 1, usize::MAX, 0);
        assert!(share.keeps_turn(false));
        assert_eq!(share.wait(false), Some(Some(6)));
        assert!(!share.keeps_turn(false), "it stands in line");
        share.call(0, 7);
        share.send(1, usize::MAX, 0);
        assert!(!share.keeps_turn(false), "it was called to go on");
        assert_eq!(share.wait(true), Some(Some(6)), "it came too late");
        share.call(0, 8);
        assert!(share.keeps_turn(false), "and here for another turn");
        assert_eq!(share.wait(false), Some(Some(8)));
    }

    #[test]
    fn a_call_for_little_is_good_for_little() {
        let mut share = Share::default();
        assert_eq!(share.wait(false), Some(None));
        assert_eq!(share.wait_for_room(10, false), Some(None));
        assert_eq!(share.wait_for_room(20, false), None);
        assert_eq!(share.call_small(3), 20);
        assert!(!share.take_call(false) && !share.take_call(true));
        assert_eq!(share.wait_for_room(30, true), Some(Some(3)));
        assert_eq!(share.call_small(4), 30);
        assert!(share.take_call(true) && share.is_in_line() && !share.is_late());
    }

    #[test]
    fn a_call_is_good_for_one_write_and_a_stream_waits_once() {
        let mut share = Share::default();
        assert!(!share.take_call(true));
        assert!(share.wait(false).is_some() && share.wait(false).is_none());
        share.call(0, 1);
        assert!(share.take_call(true) && !share.take_call(true));
        assert!(!share.is_late());
        assert!(share.wait(true).is_some());
        share.call(0, 2);
        assert!(share.is_late());
        share.send(1, 2, 0);
        assert!(!share.is_late());
    }
}
