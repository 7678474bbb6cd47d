//! How much large writes may send before the tasks at both ends get their turn.

use std::time::{Duration, Instant};

use crate::{frame::MAX_PAYLOAD, streams::Key};

/// How many frames large writes send in one go while nothing else happens. A socket holds more, but what is in
/// it delays whatever comes behind it, and a socket that is never full never stops in the middle of a frame.
pub(crate) const GO: usize = 12;

/// The same in bytes.
const ALONE: usize = GO * MAX_PAYLOAD;

/// The same, at the least, while other streams write as well: theirs are small and somebody waits
/// for them.
const IN_COMPANY: usize = 16 * 1024;

/// How much may be sent in company for each microsecond that the last go and the rest after it took. Where
/// busy tasks make goes rare, it is not large writes that keep anybody waiting.
const BYTES_PER_MICROSECOND: u64 = 512;

/// For how many goes a small write is remembered.
const MEMORY: u8 = 64;

/// How far the large writes of a session are with their go.
#[derive(Debug, Default)]
pub(super) struct Pace {
    sent: usize,
    state: Go,
    /// The number of the go; after the last one numbers begin anew.
    go: u32,
    /// How many goes are still to be small.
    company: u8,
    /// Who wrote little last.
    companion: Option<Key>,
    /// For how many goes others are company.
    others: u8,
    /// When the go began, once there was one.
    begun: Option<Instant>,
    /// How long the one before it took, with the rest after it.
    took: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Go {
    #[default]
    On,
    /// The go is used up; the driver does not know yet.
    Used,
    /// The driver lets everybody run before the next go.
    Resting,
}

impl Pace {
    /// The number of the go.
    pub(super) const fn go(&self) -> u32 {
        self.go
    }

    /// The stream sends a large write.
    pub(super) fn large_write(&mut self, key: Key, length: u32) {
        if self.companion == Some(key) {
            // What it wrote before was the head of this.
            self.companion = None;
            self.company = self.others;
        }
        self.sent += length as usize;
        if self.state == Go::On && self.sent >= self.limit() {
            self.state = Go::Used;
        }
    }

    /// So much of the last large write was not sent after all.
    pub(super) fn refund(&mut self, length: usize) {
        self.sent = self.sent.saturating_sub(length);
        if self.state == Go::Used && self.sent < self.limit() {
            self.state = Go::On;
        }
    }

    /// A stream that does not write much writes little, and somebody may wait for it.
    pub(super) fn small_write(&mut self, key: Key) {
        if self.companion != Some(key) {
            self.others = self.company;
        }
        self.companion = Some(key);
        self.company = MEMORY;
    }

    /// Whether somebody may wait for small writes, so that no turn goes on after a go.
    pub(super) const fn has_company(&self) -> bool {
        self.company > 0
    }

    /// How many frames the next large write may have.
    pub(super) fn frames(&self) -> usize {
        let left = self.limit().saturating_sub(self.sent);
        left.div_ceil(MAX_PAYLOAD).max(1)
    }

    fn limit(&self) -> usize {
        if !self.has_company() {
            return ALONE;
        }
        let earned = self.took.as_micros() as u64 * BYTES_PER_MICROSECOND;
        usize::try_from(earned)
            .unwrap_or(ALONE)
            .clamp(IN_COMPANY, ALONE)
    }

    /// Whether large writes are to wait for the driver.
    pub(super) fn is_resting(&self) -> bool {
        self.state != Go::On
    }

    /// Whether the driver is to know that the go is used up.
    pub(super) fn has_used_go(&self) -> bool {
        self.state == Go::Used
    }

    /// The driver has a turn: the second one after a go was used up begins the next.
    pub(super) fn begin_poll(&mut self, now: impl FnOnce() -> Instant) {
        if self.state == Go::Resting {
            self.state = Go::On;
            self.go = self.go.wrapping_add(1);
            self.sent = 0;
            let now = now();
            let before = self.begun.replace(now);
            self.took = before.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
            self.company = self.company.saturating_sub(1);
            self.others = self.others.saturating_sub(1);
        }
    }

    /// Nothing waits to leave: a go as good as over.
    pub(super) fn idle(&mut self) {
        if self.state == Go::On {
            self.go = self.go.wrapping_add(1);
        }
    }

    /// The driver's turn is over. Returns whether the next one is to come after everybody has run.
    pub(super) fn end_poll(&mut self) -> bool {
        let is_used = self.state == Go::Used;
        if is_used {
            self.state = Go::Resting;
        }
        is_used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: Key = Key { slot: 0, id: 1 };
    const OTHER: Key = Key { slot: 1, id: 3 };

    /// Writes bursts until the go is used up, lets the driver have its turns, and returns how much it was.
    fn go(pace: &mut Pace, now: Instant) -> usize {
        let mut sent = 0;
        let number = pace.go();
        while !pace.is_resting() {
            let batch = pace.frames().min(4) * MAX_PAYLOAD;
            sent += batch;
            pace.large_write(LARGE, batch as u32);
        }
        assert!(pace.has_used_go());
        pace.begin_poll(|| now);
        assert!(pace.is_resting(), "the driver has let nobody run yet");
        assert!(pace.end_poll());
        assert!(pace.is_resting() && !pace.has_used_go() && pace.go() == number);
        pace.begin_poll(|| now);
        assert!(!pace.is_resting() && !pace.end_poll());
        assert_eq!(pace.go(), number + 1);
        sent
    }

    #[test]
    fn goes_are_small_for_a_while_after_another_stream_wrote() {
        let mut pace = Pace::default();
        let now = Instant::now();
        assert_eq!(go(&mut pace, now), ALONE);
        assert!(!pace.has_company());
        pace.small_write(OTHER);
        for _ in 0..MEMORY {
            assert!(pace.has_company());
            assert_eq!(go(&mut pace, now), IN_COMPANY);
        }
        assert!(!pace.has_company());
        assert_eq!(go(&mut pace, now), ALONE);
    }

    #[test]
    fn a_head_before_a_body_is_no_company() {
        let mut pace = Pace::default();
        let now = Instant::now();
        pace.small_write(LARGE);
        assert_eq!(go(&mut pace, now), ALONE);
        for company in [LARGE, OTHER] {
            pace.small_write(LARGE);
            pace.small_write(OTHER);
            pace.small_write(company);
            assert_eq!(go(&mut pace, now), IN_COMPANY, "{company:?}");
        }
    }

    #[test]
    fn goes_are_larger_where_busy_tasks_make_them_rare() {
        let mut pace = Pace::default();
        let mut now = Instant::now();
        go(&mut pace, now);
        pace.small_write(OTHER);
        let mut next = |microseconds| {
            now += Duration::from_micros(microseconds);
            go(&mut pace, now)
        };
        next(64);
        assert_eq!(next(5), 32 * 1024);
        assert_eq!(next(64_000), IN_COMPANY);
        assert_eq!(next(10), ALONE);
    }

    #[test]
    fn a_go_counts_what_all_streams_send() {
        let mut pace = Pace::default();
        for (key, is_over) in [(LARGE, false), (OTHER, true)] {
            pace.large_write(key, ALONE as u32 / 2);
            assert_eq!(pace.is_resting(), is_over);
        }
    }

    #[test]
    fn what_is_taken_back_can_be_sent_in_the_same_go() {
        let mut pace = Pace::default();
        pace.large_write(LARGE, ALONE as u32);
        pace.refund(MAX_PAYLOAD);
        assert!(!pace.is_resting() && !pace.end_poll() && pace.frames() == 1);
        pace.large_write(LARGE, MAX_PAYLOAD as u32 + 1);
        pace.refund(1);
        assert!(pace.is_resting(), "a go was sent");
        assert!(pace.end_poll());
        pace.refund(MAX_PAYLOAD);
        assert!(pace.is_resting(), "the rest goes on");
    }

    #[test]
    fn idle_turns_are_goes() {
        let mut pace = Pace::default();
        pace.idle();
        assert_eq!(pace.go(), 1);
        pace.large_write(LARGE, ALONE as u32);
        pace.idle();
        assert_eq!(pace.go(), 1, "this one is not over");
    }
}
