//! Compares contenders within one run.

use std::time::Duration;

use crate::contenders::Running;

/// The times of one call, in seconds: a row for each contender, a column for each round.
pub struct Rounds {
    names: Vec<&'static str>,
    times: Vec<Vec<f64>>,
}

impl Rounds {
    /// Measures all contenders in alternating rounds, so that a disturbance of the machine affects all of them.
    #[must_use]
    pub fn run(contenders: &mut [Running], rounds: usize, calls: u64) -> Self {
        let mut times = vec![Vec::with_capacity(rounds); contenders.len()];
        for contender in &mut *contenders {
            contender.measure(calls);
        }
        for _ in 0..rounds {
            for (contender, times) in contenders.iter_mut().zip(&mut times) {
                times.push(contender.measure(calls).as_secs_f64() / calls as f64);
            }
        }
        let names = contenders.iter().map(|contender| contender.name).collect();
        Self { names, times }
    }

    /// Returns the names of the contenders.
    #[must_use]
    pub fn names(&self) -> &[&'static str] {
        &self.names
    }

    /// Returns the median time of one call.
    ///
    /// # Panics
    ///
    /// Panics if no contender of this name was measured.
    #[must_use]
    pub fn time(&self, name: &str) -> Duration {
        Duration::from_secs_f64(median(self.row(name).to_vec()))
    }

    /// Returns how many times as long as `other` the contender `name` takes: the median of the ratios of the rounds.
    ///
    /// # Panics
    ///
    /// Panics if no contender of one of these names was measured.
    #[must_use]
    pub fn ratio(&self, name: &str, other: &str) -> f64 {
        let pairs = self.row(name).iter().zip(self.row(other));
        median(pairs.map(|(one, other)| one / other).collect())
    }

    fn row(&self, name: &str) -> &[f64] {
        let index = self.names.iter().position(|known| *known == name);
        &self.times[index.expect("the contender was measured")]
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
