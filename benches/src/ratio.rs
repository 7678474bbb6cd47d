//! Comparing contenders within one run.

use std::time::Duration;

use crate::contenders::Running;

/// What one contender needed, over all rounds.
pub struct Row {
    /// The contender.
    pub name: &'static str,
    /// The median time of one call.
    pub median: Duration,
    /// The fastest round's time of one call.
    pub fastest: Duration,
}

/// Measures all contenders in alternating rounds, so that what disturbs the machine disturbs all
/// of them.
#[must_use]
pub fn compare(contenders: &mut [Running], rounds: usize, calls: u64) -> Vec<Row> {
    let mut times = vec![Vec::with_capacity(rounds); contenders.len()];
    for contender in &mut *contenders {
        contender.measure(calls);
    }
    for _ in 0..rounds {
        for (contender, times) in contenders.iter_mut().zip(&mut times) {
            times.push(contender.measure(calls) / u32::try_from(calls).unwrap_or(u32::MAX));
        }
    }
    let rows = contenders.iter().zip(times).map(|(contender, mut times)| {
        times.sort_unstable();
        Row { name: contender.name, median: times[times.len() / 2], fastest: times[0] }
    });
    rows.collect()
}
