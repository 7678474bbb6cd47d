//! A small generator of repeatable choices.

/// The same seed makes the same choices.
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % end
    }

    /// Lets the other tasks run a random number of times.
    pub(crate) async fn pause(&mut self, at_most: usize) {
        for _ in 0..self.below(at_most + 1) {
            tokio::task::yield_now().await;
        }
    }
}
