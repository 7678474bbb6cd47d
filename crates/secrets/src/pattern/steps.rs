//! The work of one operation, counted.

/// The most steps of one operation. A step visits one pair of positions, one candidate or one machine word.
pub(super) const MAX_STEPS: usize = 100_000;

/// Counts the steps of one operation on patterns, so that no peer's pattern can occupy a thread.
#[derive(Debug, Default)]
pub(super) struct Steps(usize);

impl Steps {
    /// Counts `n` more steps before they are taken; `None` if they would be too many.
    pub(super) fn take(&mut self, n: usize) -> Option<()> {
        self.0 = Some(self.0 + n).filter(|&total| total <= MAX_STEPS)?;
        Some(())
    }

    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.0
    }
}
