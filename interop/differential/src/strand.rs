//! The operations of one stream, from its opening to its end.

use crate::{
    random::Random,
    script::{End, Op, Pace, Step, Wait},
};

/// The most that may be unread on a stream that was read from before.
const HALF_WINDOW: usize = 128 * 1024;

/// The operations of one stream in the order in which they are written down.
pub(crate) struct Strand<'a> {
    pub(crate) random: &'a mut Random,
    pub(crate) stream: usize,
    pub(crate) opener: End,
    pub(crate) ops: Vec<Op>,
}

impl Strand<'_> {
    pub(crate) fn push(&mut self, end: End, step: Step, wait: Wait) {
        let stream = Some(self.stream);
        self.ops.push(Op {
            end,
            stream,
            step,
            wait,
        });
    }

    pub(crate) fn own(&mut self, end: End, step: Step) {
        self.push(end, step, Wait::Own);
    }

    pub(crate) fn after(&mut self, end: End, step: Step) {
        self.push(end, step, Wait::Stream);
    }

    pub(crate) fn acceptor(&self) -> End {
        self.opener.other()
    }

    pub(crate) fn either(&mut self) -> End {
        self.random.pick(&End::BOTH)
    }

    /// A length: mostly small, sometimes of several frames.
    pub(crate) fn length(&mut self) -> usize {
        match self.random.below(8) {
            0 => 1,
            1 => self.random.between(16_000, 17_000),
            2 => self.random.between(20_000, 60_000),
            _ => self.random.between(2, 3000),
        }
    }

    /// Mostly fast, otherwise in up to sixteen pieces.
    pub(crate) fn pace(&mut self, bytes: usize) -> Pace {
        if self.random.percent(75) {
            return Pace::Fast;
        }
        let chunk = (bytes / self.random.between(2, 16)).max(1);
        let pause = self.random.between(0, 1) as u64;
        Pace::Slow { chunk, pause }
    }

    /// Opens with a SYN that is sent at once.
    pub(crate) fn open(&mut self) {
        self.own(self.opener, Step::Open { flush: true });
        self.own(self.acceptor(), Step::Accept);
    }

    /// Opens with a first message, which the acceptor reads.
    pub(crate) fn open_with_message(&mut self) {
        let bytes = self.length();
        self.open_with(bytes);
        let pace = self.pace(bytes);
        self.own(self.acceptor(), Step::Read(bytes, pace));
    }

    /// Opens with so many bytes, which are unread at first.
    pub(crate) fn open_with(&mut self, bytes: usize) {
        self.own(self.opener, Step::Open { flush: false });
        self.own(self.opener, Step::Write(bytes));
        self.own(self.acceptor(), Step::Accept);
    }

    /// Sends so many bytes to the other end, which reads them, perhaps in two parts.
    pub(crate) fn send(&mut self, from: End, bytes: usize) {
        self.own(from, Step::Write(bytes));
        let pace = self.pace(bytes);
        if bytes > 1 && self.random.percent(20) {
            let first = self.random.between(1, bytes - 1);
            self.own(from.other(), Step::Read(first, pace));
            self.own(from.other(), Step::Read(bytes - first, Pace::Fast));
        } else {
            self.own(from.other(), Step::Read(bytes, pace));
        }
    }

    /// Messages in both directions.
    pub(crate) fn talk(&mut self, most: usize) {
        for _ in 0..self.random.between(1, most) {
            let (from, bytes) = (self.either(), self.length());
            self.send(from, bytes);
        }
    }

    /// Ends the write side of an end; the other reads the rest and the end.
    pub(crate) fn finish(&mut self, end: End) {
        if self.random.percent(40) {
            let bytes = self.length();
            self.own(end, Step::Write(bytes));
        }
        self.own(end, Step::Finish);
        self.own(end.other(), Step::ReadEnd(Pace::Fast));
    }

    /// Ends the write side of the end whose peer closes the session then. Unless it drains, it may
    /// have nothing to send after that, not even credit, so it has read everything.
    pub(crate) fn finish_last(&mut self, drains: bool, end: End) {
        let first = self.ops.len();
        self.finish(end);
        if !drains {
            self.ops[first].wait = Wait::Stream;
        }
    }

    /// Finishes both directions, and sometimes drops the stream at once.
    pub(crate) fn finish_both(&mut self) {
        let first = self.either();
        if self.random.percent(30) {
            // Both at the same time.
            self.own(first, Step::Finish);
            self.own(first.other(), Step::Finish);
            self.own(first, Step::ReadEnd(Pace::Fast));
            self.own(first.other(), Step::ReadEnd(Pace::Fast));
        } else {
            self.finish(first);
            self.finish(first.other());
        }
        for end in End::BOTH {
            if self.random.percent(25) {
                self.own(end, Step::Drop);
            }
        }
    }

    pub(crate) fn exchange(&mut self) {
        self.open_with_message();
        self.talk(3);
        self.finish_both();
    }

    pub(crate) fn acceptor_first(&mut self) {
        self.open();
        let bytes = self.length();
        self.send(self.acceptor(), bytes);
        self.talk(2);
        self.finish_both();
    }

    pub(crate) fn write_then_drop(&mut self) {
        let bytes = self.random.between(1, HALF_WINDOW);
        if self.random.percent(50) {
            // Perhaps before SYN was sent.
            self.own(self.opener, Step::Open { flush: false });
            self.own(self.opener, Step::Write(bytes));
            self.drop_and_read(self.opener);
        } else {
            self.open_with_message();
            let from = self.either();
            self.own(from, Step::Write(bytes));
            self.drop_and_read(from);
        }
    }

    fn drop_and_read(&mut self, from: End) {
        if self.random.percent(30) {
            self.own(from, Step::Finish);
        }
        self.own(from, Step::Drop);
        let is_new = !self.ops.iter().any(|op| op.step == Step::Accept);
        if is_new {
            self.own(self.acceptor(), Step::Accept);
        }
        self.own(from.other(), Step::ReadEnd(Pace::Fast));
        self.own(from.other(), Step::Drop);
    }

    pub(crate) fn half_close(&mut self) {
        self.open_with_message();
        let first = self.either();
        self.finish(first);
        if self.random.percent(30) {
            self.own(first, Step::Write(10));
        }
        for _ in 0..self.random.between(1, 3) {
            let bytes = self.length();
            self.send(first.other(), bytes);
        }
        if self.random.percent(30) {
            // It is still the end.
            self.own(first.other(), Step::ReadEnd(Pace::Fast));
        }
        self.finish(first.other());
    }

    pub(crate) fn reset(&mut self) {
        self.open_with_message();
        self.talk(2);
        let resets = self.either();
        let sees = resets.other();
        let is_half_closed = self.random.percent(25);
        if is_half_closed {
            self.finish(sees);
        }
        self.after(resets, Step::Reset);
        self.own(sees, Step::ReadEnd(Pace::Fast));
        if !is_half_closed {
            self.after(sees, Step::Write(10));
        }
        self.own(sees, Step::Drop);
    }

    pub(crate) fn bulk(&mut self) {
        self.open_with_message();
        let from = self.either();
        self.bulk_from(from, 900_000);
        self.finish_both();
    }

    pub(crate) fn bulk_from(&mut self, from: End, most: usize) {
        let bytes = self.random.between(300_000, most);
        self.own(from, Step::Write(bytes));
        let pace = self.pace(bytes);
        self.own(from.other(), Step::Read(bytes, pace));
    }

    pub(crate) fn bulk_both_ways(&mut self) {
        self.open_with_message();
        let first = self.either();
        self.bulk_from(first, 700_000);
        self.bulk_from(first.other(), 700_000);
        self.finish_both();
    }

    /// Opens with bytes that are unread at first, perhaps none, and perhaps with their end.
    pub(crate) fn open_and_leave(&mut self, is_finished: bool) {
        let bytes = match self.random.below(8) {
            0 => 256 * 1024,
            1 => 0,
            _ => self.random.between(1, 30_000),
        };
        let flush = bytes == 0 || self.random.percent(50);
        self.own(self.opener, Step::Open { flush });
        if bytes > 0 {
            self.own(self.opener, Step::Write(bytes));
        }
        if is_finished {
            self.own(self.opener, Step::Finish);
        }
    }

    /// Reads the unread bytes, and ends the stream in both directions.
    pub(crate) fn take_leave(&mut self, is_finished: bool, drains: bool) {
        if !is_finished {
            self.own(self.opener, Step::Finish);
        }
        self.own(self.acceptor(), Step::ReadEnd(Pace::Fast));
        self.finish_last(drains, self.acceptor());
    }

    /// Data for a dropped stream is discarded without an error.
    pub(crate) fn late_frames(&mut self) {
        self.open_with_message();
        let drops = self.either();
        let late = drops.other();
        if self.random.percent(30) {
            // It leaves something unread behind.
            let bytes = self.length();
            self.own(late, Step::Write(bytes));
        }
        self.own(drops, Step::Drop);
        if self.random.percent(50) {
            self.own(late, Step::ReadEnd(Pace::Fast));
        }
        for _ in 0..self.random.between(1, 3) {
            let bytes = self.random.between(1, 3000);
            self.own(late, Step::Write(bytes));
        }
        self.own(late, Step::Drop);
    }

    pub(crate) fn anything(&mut self) {
        match self.random.below(8) {
            0 => self.acceptor_first(),
            1 => self.write_then_drop(),
            2 => self.half_close(),
            3 => self.reset(),
            4 => self.bulk(),
            5 => self.bulk_both_ways(),
            6 => self.late_frames(),
            _ => self.exchange(),
        }
    }
}
