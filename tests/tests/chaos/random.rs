//! A small generator of repeatable choices.

/// The same seed makes the same choices.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// The generator of one of several independent parts.
    pub(crate) fn of(seed: u64, part: &str) -> Self {
        let mixed = part.bytes().fold(seed, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % end
    }

    /// One of several values.
    pub(crate) fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// The next of `all`: each comes once, in a random order, before any comes again. `deck` holds the ones to come.
    pub(crate) fn deal<T: Copy>(&mut self, deck: &mut Vec<T>, all: &[T]) -> Option<T> {
        if deck.is_empty() {
            *deck = all.to_vec();
            self.shuffle(deck);
        }
        deck.pop()
    }

    /// Puts values into a random order.
    pub(crate) fn shuffle<T>(&mut self, all: &mut [T]) {
        for end in (1..all.len()).rev() {
            all.swap(end, self.below(end + 1));
        }
    }
}
