//! Generation of scripts: the classes with more than one stream.

use crate::{
    class::Class,
    random::Random,
    script::{End, Op, Pace, Script, Settings, Step, Wait},
    strand::Strand,
};

/// The approximate number of operations of a script.
const LENGTH: usize = 50;

/// A script under construction.
pub(crate) struct Draft {
    random: Random,
    settings: Settings,
    ops: Vec<Op>,
    streams: usize,
}

impl Draft {
    pub(crate) fn new(mut random: Random) -> Self {
        let settings = Settings {
            capacity: random.pick(&[500, 5000, 1 << 16, 1 << 18, 1 << 20]),
            chunk: random.pick(&[100, 1000, 10_000, 1 << 16, 1 << 20]),
            ..Settings::default()
        };
        Self {
            random,
            settings,
            ops: Vec::new(),
            streams: 0,
        }
    }

    pub(crate) fn script(self, class: Class, seed: u64) -> Script {
        Script {
            class,
            seed,
            settings: self.settings,
            ops: self.ops,
        }
    }

    fn end(&mut self) -> End {
        self.random.pick(&End::BOTH)
    }

    fn session(&mut self, end: End, step: Step, wait: Wait) {
        self.ops.push(Op {
            end,
            stream: None,
            step,
            wait,
        });
    }

    fn both_accept(&mut self) {
        for end in End::BOTH {
            self.session(end, Step::Accepting, Wait::Own);
        }
    }

    /// The operations of a new stream.
    fn strand(&mut self, opener: End, write: impl FnOnce(&mut Strand<'_>)) -> Vec<Op> {
        let stream = self.streams;
        self.streams += 1;
        let mut strand = Strand {
            random: &mut self.random,
            stream,
            opener,
            ops: Vec::new(),
        };
        write(&mut strand);
        strand.ops
    }

    /// A new stream whose first operations come now, and the others later.
    fn in_two(
        &mut self,
        opener: End,
        now: impl FnOnce(&mut Strand<'_>),
        later: impl FnOnce(&mut Strand<'_>),
    ) -> Vec<Op> {
        let mut first = 0;
        let mut ops = self.strand(opener, |strand| {
            now(strand);
            first = strand.ops.len();
            later(strand);
        });
        let later = ops.split_off(first);
        self.ops.extend(ops);
        later
    }

    /// Streams until there are about so many operations, and woven into each other.
    fn strands(&mut self, length: usize, write: impl Fn(&mut Strand<'_>)) {
        let mut strands = Vec::new();
        let mut count = self.ops.len();
        while count < length {
            let opener = self.end();
            let strand = self.strand(opener, &write);
            // The last one should not be much too long.
            if count + strand.len() > LENGTH + 10 && count > LENGTH - 10 {
                break;
            }
            count += strand.len();
            strands.push(strand);
        }
        self.weave(strands);
    }

    /// Adds several lists of operations in a random order that keeps the order of each.
    fn weave(&mut self, mut strands: Vec<Vec<Op>>) {
        strands.iter_mut().for_each(|strand| strand.reverse());
        strands.retain(|strand| !strand.is_empty());
        while !strands.is_empty() {
            let chosen = self.random.below(strands.len());
            self.ops.extend(strands[chosen].pop());
            strands.retain(|strand| !strand.is_empty());
        }
    }

    /// Streams of one kind.
    pub(crate) fn only(&mut self, write: impl Fn(&mut Strand<'_>)) {
        self.with_others(100, write);
    }

    /// Streams of one kind, and ordinary ones beside them.
    pub(crate) fn with_others(&mut self, percent: usize, write: impl Fn(&mut Strand<'_>)) {
        self.both_accept();
        let opener = self.end();
        let first = self.strand(opener, &write);
        // At least one stream is of the kind.
        let at = self.ops.len();
        self.ops.extend(first);
        self.strands(LENGTH, |strand| {
            if strand.random.percent(percent) {
                write(strand);
            } else {
                strand.exchange();
            }
        });
        let mut woven = self.ops.split_off(at);
        let others = woven.split_off(woven.iter().take_while(|op| op.stream == Some(0)).count());
        self.weave(vec![woven, others]);
    }

    pub(crate) fn many_streams(&mut self) {
        self.both_accept();
        while self.ops.len() < LENGTH {
            let opener = self.end();
            let ops = self.strand(opener, |strand| {
                let bytes = strand.random.between(1, 100);
                strand.own(opener, Step::Open { flush: false });
                strand.own(opener, Step::Write(bytes));
                strand.own(opener, Step::Finish);
                strand.own(opener.other(), Step::Accept);
                strand.own(opener.other(), Step::ReadEnd(Pace::Fast));
                strand.own(opener.other(), Step::Drop);
                strand.own(opener, Step::ReadEnd(Pace::Fast));
                strand.own(opener, Step::Drop);
                strand.ops[0].wait = Wait::All;
            });
            self.ops.extend(ops);
        }
    }

    pub(crate) fn slow_reader(&mut self) {
        self.both_accept();
        let mut unread = Vec::new();
        for _ in 0..self.random.between(1, 2) {
            let opener = self.end();
            let bytes = self.random.between(100_000, 256 * 1024);
            let ops = self.strand(opener, |strand| strand.open_with(bytes));
            self.ops.extend(ops);
            unread.push((self.streams - 1, opener, bytes));
        }
        self.strands(40, |strand| {
            if strand.random.percent(20) {
                strand.bulk();
            } else {
                strand.exchange();
            }
        });
        for (stream, opener, bytes) in unread {
            let chunk = bytes / 8;
            let mut last = |end, step, wait| {
                let stream = Some(stream);
                self.ops.push(Op {
                    end,
                    stream,
                    step,
                    wait,
                });
            };
            let pace = Pace::Slow { chunk, pause: 1 };
            last(opener.other(), Step::Read(bytes, pace), Wait::All);
            last(opener, Step::Finish, Wait::Own);
            last(opener.other(), Step::ReadEnd(Pace::Fast), Wait::Own);
            last(opener.other(), Step::Drop, Wait::Own);
            last(opener, Step::Drop, Wait::Own);
        }
    }

    pub(crate) fn full_window(&mut self) {
        self.both_accept();
        self.strands(LENGTH, |strand| {
            let (opener, acceptor) = (strand.opener, strand.acceptor());
            let first = strand.random.between(1, 256 * 1024 - 1);
            strand.open_with(first);
            strand.own(opener, Step::Write(256 * 1024 - first));
            strand.own(acceptor, Step::Write(256 * 1024));
            strand.after(opener, Step::Finish);
            strand.after(acceptor, Step::ReadEnd(Pace::Fast));
            strand.after(acceptor, Step::Finish);
            strand.own(opener, Step::ReadEnd(Pace::Fast));
        });
    }

    pub(crate) fn late_accept(&mut self) {
        let opener = self.end();
        self.session(opener, Step::Accepting, Wait::Own);
        let mut later = Vec::new();
        while self.ops.len() + later.iter().map(Vec::len).sum::<usize>() < LENGTH - 6 {
            let bytes = match self.random.below(4) {
                0 => 256 * 1024,
                _ => self.random.between(1, 30_000),
            };
            let is_early = self.random.percent(50);
            let acceptor = opener.other();
            let ops = self.in_two(
                opener,
                |strand| {
                    let flush = strand.random.percent(50);
                    strand.own(opener, Step::Open { flush });
                    strand.own(opener, Step::Write(bytes));
                    if is_early {
                        strand.own(opener, Step::Finish);
                    }
                },
                |strand| {
                    strand.own(acceptor, Step::Accept);
                    if !is_early {
                        strand.own(opener, Step::Finish);
                    }
                    strand.own(acceptor, Step::ReadEnd(Pace::Fast));
                    strand.finish(acceptor);
                },
            );
            later.push(ops);
        }
        self.session(opener.other(), Step::Accepting, Wait::All);
        self.weave(later);
    }

    pub(crate) fn accept_queue(&mut self) {
        let opener = self.end();
        let acceptor = opener.other();
        let limit = self.random.between(2, 5);
        self.settings.accept_queue[acceptor.index()] = limit;
        self.session(opener, Step::Accepting, Wait::Own);
        let mut later = Vec::new();
        for _ in 0..limit {
            let ops = self.in_two(
                opener,
                |strand| {
                    strand.push(opener, Step::Open { flush: true }, Wait::All);
                },
                |strand| {
                    strand.own(acceptor, Step::Accept);
                    strand.talk(1);
                    strand.finish_both();
                },
            );
            later.push(ops);
        }
        for _ in 0..self.random.between(1, 4) {
            let ops = self.strand(opener, |strand| {
                strand.push(opener, Step::Open { flush: true }, Wait::All);
                strand.own(opener, Step::ReadEnd(Pace::Fast));
            });
            self.ops.extend(ops);
        }
        self.session(acceptor, Step::Accepting, Wait::All);
        self.weave(later);
        // There is space again, for one after the other.
        while self.ops.len() < LENGTH - 8 {
            let opener = self.end();
            let mut ops = self.strand(opener, |strand| strand.exchange());
            ops[0].wait = Wait::All;
            self.ops.extend(ops);
        }
    }

    pub(crate) fn go_away(&mut self) {
        self.both_accept();
        let leaver = self.end();
        let mut later = Vec::new();
        for _ in 0..3 {
            let opener = self.end();
            let ops = self.in_two(
                opener,
                |strand| strand.open_with_message(),
                |strand| {
                    strand.talk(2);
                    strand.finish_both();
                },
            );
            later.push(ops);
        }
        self.session(leaver, Step::GoAway, Wait::All);
        self.session(leaver.other(), Step::OpenRefused, Wait::All);
        // The sender of GoAway may still open streams.
        let ops = self.strand(leaver, |strand| strand.exchange());
        later.push(ops);
        self.weave(later);
        while self.ops.len() < LENGTH - 8 {
            let ops = self.strand(leaver, |strand| strand.exchange());
            self.ops.extend(ops);
        }
        self.session(leaver.other(), Step::OpenRefused, Wait::All);
        if self.random.percent(30) {
            self.session(leaver.other(), Step::GoAway, Wait::All);
            self.session(leaver, Step::OpenRefused, Wait::All);
        }
    }

    /// Sometimes opens a stream after the close. That stream may be lost, so the session may end with an error.
    fn open_late(&mut self, end: End) {
        if self.random.percent(50) {
            self.session(end, Step::OpenRefused, Wait::All);
        }
    }

    /// HashiCorp's library ends with the first write that meets the closed connection, and loses the bytes that it has not read
    /// from it. So where it reads, no stream is long enough to owe credit after the close.
    pub(crate) fn close_in_flight(&mut self, drains: &[End]) {
        self.both_accept();
        let closer = self.end();
        let most = match drains.contains(&closer.other()) {
            true => 130_000,
            false => 65_000,
        };
        let mut later = Vec::new();
        while self.ops.len() + later.len() < LENGTH - 4 {
            let opener = self.end();
            let ops = self.in_two(
                opener,
                |strand| {
                    strand.open_with_message();
                    strand.finish(closer.other());
                    let bytes = strand.random.between(1, most);
                    strand.own(closer, Step::Write(bytes));
                    strand.own(closer, Step::Finish);
                },
                |strand| {
                    let pace = strand.pace(most);
                    strand.own(closer.other(), Step::ReadEnd(pace));
                },
            );
            later.push(ops);
        }
        self.session(closer, Step::Close, Wait::All);
        self.weave(later);
        self.open_late(closer.other());
    }

    pub(crate) fn close_drains(&mut self, drains: &[End]) {
        self.both_accept();
        let closer = self.random.pick(drains);
        let mut later = Vec::new();
        while self.ops.len() + later.iter().map(Vec::len).sum::<usize>() < LENGTH - 6 {
            let opener = self.end();
            let ops = self.in_two(
                opener,
                |strand| strand.open_with_message(),
                |strand| {
                    strand.talk(2);
                    strand.finish(closer);
                    strand.finish_last(drains.contains(&closer.other()), closer.other());
                },
            );
            later.push(ops);
        }
        self.session(closer, Step::Drain, Wait::All);
        self.weave(later);
        self.open_late(closer.other());
    }

    pub(crate) fn close_wakes(&mut self) {
        self.both_accept();
        self.settings.drain = 20;
        let closer = self.end();
        let mut later = Vec::new();
        while self.ops.len() + later.iter().map(Vec::len).sum::<usize>() < LENGTH - 6 {
            let opener = self.end();
            let ops = self.in_two(
                opener,
                |strand| {
                    strand.open_with_message();
                    strand.talk(2);
                },
                |strand| {
                    if strand.random.percent(70) {
                        for end in End::BOTH {
                            strand.own(end, Step::ReadEnd(Pace::Fast));
                        }
                    } else {
                        // More than any window holds, and unread.
                        let writer = strand.either();
                        strand.own(writer, Step::Write(500_000));
                        strand.own(writer, Step::ReadEnd(Pace::Fast));
                    }
                },
            );
            later.push(ops);
        }
        self.session(closer, Step::Close, Wait::All);
        self.weave(later);
        self.open_late(closer);
    }

    pub(crate) fn close_unaccepted(&mut self, drains: &[End]) {
        let closer = self.end();
        let acceptor = closer.other();
        let is_drained = drains.contains(&closer);
        self.session(closer, Step::Accepting, Wait::Own);
        let mut later = Vec::new();
        while self.ops.len() + later.iter().map(Vec::len).sum::<usize>() < LENGTH - 6 {
            let is_finished = self.random.percent(50);
            let ops = self.in_two(
                closer,
                |strand| strand.open_and_leave(is_finished),
                |strand| {
                    strand.own(acceptor, Step::Accept);
                    if is_drained {
                        strand.take_leave(is_finished, drains.contains(&acceptor));
                    } else {
                        let pace = strand.pace(30_000);
                        strand.own(acceptor, Step::ReadEnd(pace));
                    }
                },
            );
            later.push(ops);
        }
        if self.random.percent(50) {
            // The other end is notified before it accepts.
            self.session(closer, Step::GoAway, Wait::All);
            self.session(acceptor, Step::OpenRefused, Wait::All);
        }
        let (step, is_after) = match is_drained {
            true => (Step::Drain, false),
            false => (Step::HangUp, self.random.percent(50)),
        };
        self.session(closer, step, Wait::All);
        let wait = if is_after { Wait::All } else { Wait::Others };
        self.session(acceptor, Step::Accepting, wait);
        self.weave(later);
    }

    pub(crate) fn close_both(&mut self) {
        self.only(|strand| strand.exchange());
        for end in End::BOTH {
            self.session(end, Step::Close, Wait::All);
        }
        let end = self.end();
        self.open_late(end);
    }

    pub(crate) fn mixed(&mut self) {
        self.settings.window = self.random.pick(&[256 * 1024, 256 * 1024, 1 << 20]);
        self.only(|strand| strand.anything());
    }

    pub(crate) fn keep_alive(&mut self) {
        self.settings.keep_alive = self.random.between(2, 8) as u64;
        self.with_others(40, |strand| {
            strand.open_with_message();
            let from = strand.either();
            let bytes = strand.random.between(300_000, 600_000);
            strand.own(from, Step::Write(bytes));
            let pace = Pace::Slow {
                chunk: bytes / 10,
                pause: 2,
            };
            strand.own(from.other(), Step::Read(bytes, pace));
            strand.finish_both();
        });
    }

    pub(crate) fn large_windows(&mut self) {
        self.settings.window = self.random.pick(&[300_000, 1 << 20, 1 << 22]);
        self.with_others(30, |strand| {
            strand.open_with_message();
            let first = strand.either();
            strand.bulk_from(first, 1_200_000);
            strand.bulk_from(first, 1_200_000);
            strand.finish_both();
        });
    }
}
