//! The checked arithmetic of the two windows of a stream.

use std::time::{Duration, Instant};

/// A window grows if its last credit was given less than this ago. On a link with a round trip of 20 ms a transfer
/// takes as long with twice as much, five times as long with 20 ms, and six to eight times without growth.
const GROWTH_INTERVAL: Duration = Duration::from_millis(100);

/// The bytes that this end may still send on a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SendWindow(u32);

/// Credit that would raise a window beyond 2^32-1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

impl SendWindow {
    pub(crate) const fn new(size: u32) -> Self {
        Self(size)
    }

    /// The number of bytes that may be sent.
    pub(crate) const fn available(self) -> u32 {
        self.0
    }

    /// Takes up to `wanted` bytes of the window and returns how many.
    pub(crate) fn take(&mut self, wanted: usize) -> u32 {
        let taken = u32::try_from(wanted).unwrap_or(u32::MAX).min(self.0);
        self.0 -= taken;
        taken
    }

    /// Gives taken bytes back that were not used.
    pub(crate) fn give_back(&mut self, unused: u32) {
        self.0 = self.0.saturating_add(unused);
    }

    /// Adds the credit of a window update.
    ///
    /// # Errors
    ///
    /// Returns [`Overflow`] if the window would exceed 2^32-1; it is unchanged.
    pub(crate) fn credit(&mut self, delta: u32) -> Result<(), Overflow> {
        self.0 = self.0.checked_add(delta).ok_or(Overflow)?;
        Ok(())
    }
}

/// The bytes that the peer may still send on a stream, and the credit that is owed for bytes that were read.
///
/// Invariant: `available + unread + owed == size`, where `unread` are the bytes that arrived
/// and were not read. Credit is given for bytes that were read, and not when they arrive,
/// so a slow reader stops its own stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecvWindow {
    size: u32,
    available: u32,
    owed: u32,
    /// The time of the last credit.
    credited_at: Option<Instant>,
}

/// Data beyond the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exceeded;

impl RecvWindow {
    pub(crate) const fn new(size: u32) -> Self {
        Self {
            size,
            available: size,
            owed: 0,
            credited_at: None,
        }
    }

    /// The number of bytes that the peer may still send.
    pub(crate) const fn available(self) -> u32 {
        self.available
    }

    /// A data header with this length arrived.
    ///
    /// # Errors
    ///
    /// Returns [`Exceeded`] if the window is smaller; it is unchanged.
    pub(crate) fn receive(&mut self, length: u32) -> Result<(), Exceeded> {
        self.available = self.available.checked_sub(length).ok_or(Exceeded)?;
        Ok(())
    }

    /// The application read `length` bytes.
    pub(crate) fn consume(&mut self, length: usize) {
        // No more can be read than was received, and that fitted into the window.
        self.owed += length as u32;
        debug_assert!(u64::from(self.available) + u64::from(self.owed) <= u64::from(self.size));
    }

    /// The size of the window in bytes.
    pub(crate) const fn size(self) -> u32 {
        self.size
    }

    /// Takes the credit to send now, if at least half of the window was read. A window of which half is read within a
    /// short time is too small, because the peer waits for credit that is still under way: it doubles, but grows by
    /// `max_growth` at the most, and the difference is part of the credit.
    pub(crate) fn take_credit(&mut self, now: Instant, max_growth: u32) -> Option<u32> {
        if self.owed < self.size.div_ceil(2) {
            return None;
        }
        let is_too_small = |at| now.saturating_duration_since(at) < GROWTH_INTERVAL;
        if self.credited_at.is_some_and(is_too_small) {
            let growth = self.size.min(max_growth);
            self.size += growth;
            self.owed += growth;
        }
        let credit = std::mem::take(&mut self.owed);
        self.available += credit;
        self.credited_at = Some(now);
        Some(credit)
    }

    /// Checks that no more bytes are waiting than the invariant allows; those of a frame that is
    /// still arriving are announced but not there yet.
    pub(crate) fn assert_invariant_at_most(self, unread: usize) {
        debug_assert!(
            self.available as usize + unread + self.owed as usize <= self.size as usize,
            "window {self:?} with {unread} unread bytes"
        );
    }

    /// Checks the invariant against the number of bytes waiting to be read.
    #[cfg(test)]
    fn assert_invariant(self, unread: usize) {
        debug_assert_eq!(
            self.available as usize + unread + self.owed as usize,
            self.size as usize,
            "window {self:?} with {unread} unread bytes"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn credit_beyond_the_largest_window_is_refused() {
        let mut window = SendWindow::new(1);
        assert_eq!(window.credit(u32::MAX), Err(Overflow));
        assert_eq!(window.available(), 1);
        window.credit(u32::MAX - 1).unwrap();
        assert_eq!(window.available(), u32::MAX);
    }

    #[test]
    fn no_more_is_taken_than_there_is() {
        let mut window = SendWindow::new(10);
        assert_eq!(window.take(4), 4);
        assert_eq!(window.take(usize::MAX), 6);
        assert_eq!(window.take(1), 0);
    }

    #[test]
    fn a_whole_window_fits_and_one_byte_more_does_not() {
        let mut window = RecvWindow::new(100);
        assert_eq!(window.receive(101), Err(Exceeded));
        window.receive(100).unwrap();
        assert_eq!(window.receive(1), Err(Exceeded));
        window.receive(0).unwrap();
    }

    #[test]
    fn credit_is_given_for_what_was_read_once_it_is_half_the_window() {
        let mut window = RecvWindow::new(100);
        window.receive(100).unwrap();
        assert_eq!(window.take_credit(Instant::now(), 0), None);
        window.consume(49);
        assert_eq!(window.take_credit(Instant::now(), 0), None);
        window.consume(1);
        assert_eq!(window.take_credit(Instant::now(), 0), Some(50));
        assert_eq!(window.available(), 50);
        assert_eq!(window.take_credit(Instant::now(), 0), None);
    }

    #[test]
    fn a_window_whose_credits_follow_each_other_quickly_doubles() {
        let start = Instant::now();
        let mut window = RecvWindow::new(100);
        window.receive(100).unwrap();
        window.consume(50);
        assert_eq!(window.take_credit(start, 1000), Some(50));
        assert_eq!(window.size(), 100, "before the first credit");
        window.consume(50);
        let (mut slow, mut limited) = (window, window);
        let quickly = start + GROWTH_INTERVAL - Duration::from_nanos(1);
        assert_eq!(window.take_credit(quickly, 1000), Some(150));
        assert_eq!((window.size(), window.available()), (200, 200));
        let credit = slow.take_credit(start + GROWTH_INTERVAL, 1000);
        assert_eq!((credit, slow.size()), (Some(50), 100));
        let credit = limited.take_credit(quickly, 30);
        assert_eq!((credit, limited.size()), (Some(80), 130));
    }

    /// A window of 100 bytes of which 60 were received.
    fn partly_used() -> RecvWindow {
        let mut window = RecvWindow::new(100);
        window.receive(60).unwrap();
        window
    }

    #[test]
    fn as_much_as_the_invariant_allows_is_fine() {
        let mut window = partly_used();
        window.consume(20);
        window.assert_invariant_at_most(39);
        window.assert_invariant_at_most(40);
        window.assert_invariant(40);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "with 41 unread bytes")]
    fn a_byte_too_many_is_noticed() {
        let mut window = partly_used();
        window.consume(20);
        window.assert_invariant_at_most(41);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "available")]
    fn reading_more_than_was_received_is_noticed() {
        partly_used().consume(61);
    }

    proptest! {
        #[test]
        fn the_window_is_always_accounted_for(
            size in 1u32..2000,
            steps in prop::collection::vec((any::<bool>(), 0u32..700), 0..200),
        ) {
            let mut window = RecvWindow::new(size);
            let mut peer = SendWindow::new(size);
            let mut unread = 0usize;
            for (is_receive, amount) in steps {
                if is_receive {
                    let sent = peer.take(amount as usize);
                    window.receive(sent).unwrap();
                    unread += sent as usize;
                } else {
                    let read = unread.min(amount as usize);
                    unread -= read;
                    window.consume(read);
                    if let Some(credit) = window.take_credit(Instant::now(), 0) {
                        peer.credit(credit).unwrap();
                    }
                }
                window.assert_invariant(unread);
                prop_assert_eq!(peer.available(), window.available());
            }
            // A reader that reads everything never leaves the peer without credit.
            window.consume(unread);
            if let Some(credit) = window.take_credit(Instant::now(), 0) {
                peer.credit(credit).unwrap();
            }
            prop_assert!(peer.available() > 0);
        }
    }
}
