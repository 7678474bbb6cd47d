//! Medians and the comparison of paired measurements.

/// The least median difference that counts, as a share.
pub(crate) const RELEVANT_CHANGE: f64 = 0.05;

/// The least share of the rounds with the same sign for a difference that counts.
pub(crate) const AGREEMENT: f64 = 0.9;

/// Returns the median; the mean of the two in the middle if their number is even.
///
/// # Panics
///
/// Panics if there are no values.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    }
}

/// The change of a figure over paired rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Change {
    /// The median of the rounds' changes, as a share: 0.1 is a tenth more.
    pub(crate) median: f64,
    /// In how many rounds the change has the sign of the median.
    pub(crate) n_agreeing: usize,
    /// Number of rounds.
    pub(crate) n_rounds: usize,
}

impl Change {
    /// Compares two columns. The values at one index come from one round.
    ///
    /// # Panics
    ///
    /// Panics if the columns are empty or differ in length.
    pub(crate) fn between(before: &[f64], after: &[f64]) -> Self {
        assert_eq!(before.len(), after.len(), "each round measures both");
        let pairs = before.iter().zip(after);
        let changes: Vec<f64> = pairs.map(|(before, after)| after / before - 1.0).collect();
        let median = median(changes.iter().copied());
        let agrees = |change: &&f64| change.total_cmp(&0.0) == median.total_cmp(&0.0);
        Self {
            median,
            n_agreeing: changes.iter().filter(agrees).count(),
            n_rounds: changes.len(),
        }
    }

    /// Returns `true` if the difference counts: its median is above [`RELEVANT_CHANGE`], and [`AGREEMENT`] of the rounds
    /// have its sign.
    pub(crate) fn is_relevant(&self) -> bool {
        self.median.abs() > RELEVANT_CHANGE
            && self.n_agreeing as f64 >= AGREEMENT * self.n_rounds as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 100.0]), 3.0);
        assert_eq!(median([5.0]), 5.0);
    }

    #[test]
    fn a_change_is_the_median_of_the_pairs() {
        let change = Change::between(&[10.0, 20.0, 40.0], &[11.0, 18.0, 48.0]);
        assert!((change.median - 0.1).abs() < 1e-9);
        assert_eq!((change.n_agreeing, change.n_rounds), (2, 3));
    }

    #[test]
    fn a_change_counts_if_nine_of_ten_rounds_agree() {
        let before = [100.0; 10];
        let mut after = [110.0; 10];
        after[3] = 90.0;
        let change = Change::between(&before, &after);
        assert_eq!(change.n_agreeing, 9);
        assert!(change.is_relevant());
        after[7] = 90.0;
        assert!(!Change::between(&before, &after).is_relevant());
    }

    #[test]
    fn a_small_change_does_not_count() {
        let change = Change::between(&[100.0; 10], &[96.0; 10]);
        assert_eq!(change.n_agreeing, 10);
        assert!(!change.is_relevant());
        assert!(Change::between(&[100.0; 10], &[94.0; 10]).is_relevant());
    }

    #[test]
    fn equal_rounds_have_no_sign() {
        let change = Change::between(&[1.0; 4], &[1.0; 4]);
        assert_eq!((change.median, change.n_agreeing), (0.0, 4));
        assert!(!change.is_relevant());
    }
}
