//! How much large writes may send before the tasks at both ends get their turn.

use std::time::{Duration, Instant};

use crate::{frame::MAX_PAYLOAD, session::GO, streams::Key};

/// What large writes send in one go while nothing else happens. A socket holds more, but what is in
/// it delays whatever comes behind it, and a socket that is never full never stops in the middle of a frame.
const ALONE: usize = GO * MAX_PAYLOAD;

/// The same, at the least, while other streams write as well: theirs are small and somebody waits
/// for them.
const IN_COMPANY: usize = 16 * 1024;

/// How much a stream may send in one turn while others want to send much as well, as far as its window
/// lasts and the connection takes all at once. What it sends next is in the processor's caches then, like
/// the buffer that its reader reads into; streams that take turns for less push each other's out.
const TURN: usize = 1024 * 1024;

/// How much may be sent for each microsecond since the last go began. Where busy tasks make goes rare,
/// it is not large writes that keep anybody waiting.
const BYTES_PER_MICROSECOND: u64 = 1024;

/// For how many goes a small write is remembered.
const MEMORY: u8 = 64;

/// How far the large writes of a session are with their go.
#[derive(Debug, Default)]
pub(super) struct Pace {
    sent: usize,
    state: Go,
    /// Who wrote much last.
    large: Option<Key>,
    /// How much each stream has sent of its turn, by slot. Others write while it has no window, so the
    /// turns of several streams may go on; none begins anew before it has ended.
    turns: Vec<Taken>,
    /// How many goes are still to be small.
    company: u8,
    /// When the go began, once there was one.
    begun: Option<Instant>,
    /// How long the one before it took, with the rest after it.
    took: Duration,
}

/// How much a stream has sent of its turn.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    /// Which stream of those that have had the slot.
    id: u32,
    bytes: usize,
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
    /// A large write of the stream was sent. Says whether that was enough.
    pub(super) fn large_write(&mut self, key: Key, sent: usize) -> bool {
        self.large = Some(key);
        let taken = self.taken(key);
        let before = if taken < TURN { taken } else { 0 };
        let slot = key.slot as usize;
        if slot >= self.turns.len() {
            self.turns.resize_with(slot + 1, Taken::default);
        }
        self.turns[slot] = Taken {
            id: key.id,
            bytes: before + sent,
        };
        self.sent += sent;
        if self.state == Go::On && self.sent >= self.limit() {
            self.state = Go::Used;
        }
        self.is_resting()
    }

    /// Whether the stream's turn is not over with its last write, and others wait on.
    pub(super) fn keeps_turn(&self, key: Key) -> bool {
        (1..TURN).contains(&self.taken(key)) && self.company == 0
    }

    fn taken(&self, key: Key) -> usize {
        let taken = self.turns.get(key.slot as usize);
        taken.map_or(0, |taken| if taken.id == key.id { taken.bytes } else { 0 })
    }

    /// A small write of the stream was queued.
    pub(super) fn small_write(&mut self, key: Key) {
        if self.large.is_some_and(|large| large != key) {
            self.company = MEMORY;
        }
    }

    /// How many frames the next large write may have.
    pub(super) fn frames(&self) -> usize {
        let left = self.limit().saturating_sub(self.sent);
        left.div_ceil(MAX_PAYLOAD).max(1)
    }

    fn limit(&self) -> usize {
        if self.company == 0 {
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

    /// The driver has a turn: the second one after a go was used up begins the next.
    pub(super) fn begin_turn(&mut self, now: impl FnOnce() -> Instant) {
        if self.state == Go::Resting {
            self.state = Go::On;
            self.sent = 0;
            let now = now();
            let before = self.begun.replace(now);
            self.took = before.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
            self.company = self.company.saturating_sub(1);
        }
    }

    /// The driver's turn is over. Says whether the next one is to come after everybody has run.
    pub(super) fn end_turn(&mut self) -> bool {
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

    /// Writes bursts until the go is used up, lets the driver have its turns, and says how much it was.
    fn go(pace: &mut Pace, now: Instant) -> usize {
        let mut sent = 0;
        while !pace.is_resting() {
            let burst = pace.frames().min(4) * MAX_PAYLOAD;
            sent += burst;
            pace.large_write(LARGE, burst);
        }
        pace.begin_turn(|| now);
        assert!(pace.is_resting(), "the driver has let nobody run yet");
        assert!(pace.end_turn());
        pace.begin_turn(|| now);
        assert!(!pace.is_resting() && !pace.end_turn());
        sent
    }

    #[test]
    fn goes_are_small_for_a_while_after_another_stream_wrote() {
        let mut pace = Pace::default();
        let now = Instant::now();
        assert_eq!(go(&mut pace, now), ALONE);
        pace.small_write(LARGE);
        assert_eq!(
            go(&mut pace, now),
            ALONE,
            "a head before a body is no company"
        );
        pace.small_write(OTHER);
        for _ in 0..MEMORY {
            assert_eq!(go(&mut pace, now), IN_COMPANY);
        }
        assert_eq!(go(&mut pace, now), ALONE);
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
        next(32);
        assert_eq!(next(5), 32 * 1024);
        assert_eq!(next(64_000), IN_COMPANY);
        assert_eq!(next(10), ALONE);
    }

    #[test]
    fn a_turn_is_a_mebibyte_of_one_stream() {
        let mut pace = Pace::default();
        assert!(!pace.keeps_turn(LARGE), "it has none");
        for _ in 0..3 {
            pace.large_write(LARGE, ALONE);
            assert!(pace.keeps_turn(LARGE) && !pace.keeps_turn(OTHER));
            pace.large_write(LARGE, TURN - ALONE - 1);
            assert!(pace.keeps_turn(LARGE));
            pace.large_write(LARGE, 1);
            assert!(!pace.keeps_turn(LARGE));
        }
        pace.large_write(LARGE, 1);
        pace.small_write(OTHER);
        assert!(!pace.keeps_turn(LARGE), "others wait for small writes");
    }

    #[test]
    fn a_turn_goes_on_after_others_wrote_and_does_not_begin_anew() {
        let mut pace = Pace::default();
        for _ in 0..2 {
            pace.large_write(LARGE, TURN / 3);
            pace.large_write(OTHER, TURN / 3);
            assert!(pace.keeps_turn(LARGE) && pace.keeps_turn(OTHER));
        }
        pace.large_write(LARGE, TURN / 2);
        pace.large_write(OTHER, TURN / 2);
        assert!(!pace.keeps_turn(LARGE) && !pace.keeps_turn(OTHER));
        let next = Key {
            slot: OTHER.slot,
            id: OTHER.id + 2,
        };
        pace.large_write(next, TURN - 1);
        assert!(pace.keeps_turn(next), "it has the slot of another stream");
    }

    #[test]
    fn a_go_counts_what_all_streams_send() {
        let mut pace = Pace::default();
        assert!(!pace.large_write(LARGE, ALONE / 2));
        assert!(pace.large_write(OTHER, ALONE / 2));
    }
}
