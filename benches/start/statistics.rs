//! Minimum, median and percentiles of durations. The minimum shows the cost of the work; the others also show the load of a
//! busy machine.

use std::time::Duration;

/// The durations of one contender in microseconds, in the order of the rounds.
pub struct Samples {
    by_round: Vec<f64>,
    sorted: Vec<f64>,
}

impl Samples {
    /// Takes at least one duration, in the order of the rounds.
    pub fn new(durations: &[Duration]) -> Self {
        Self::from_microseconds(durations.iter().map(|duration| duration.as_secs_f64() * 1e6).collect())
    }

    fn from_microseconds(by_round: Vec<f64>) -> Self {
        let mut sorted = by_round.clone();
        sorted.sort_by(f64::total_cmp);
        Self { by_round, sorted }
    }

    /// The difference to `other` in each round: a disturbance in a round affects both.
    pub fn over(&self, other: &Self) -> Self {
        Self::from_microseconds(self.by_round.iter().zip(&other.by_round).map(|(own, other)| own - other).collect())
    }

    pub fn minimum(&self) -> f64 {
        self.sorted[0]
    }

    pub fn median(&self) -> f64 {
        self.percentile(50)
    }

    pub fn percentile(&self, percent: usize) -> f64 {
        self.sorted[(self.sorted.len() * percent / 100).min(self.sorted.len() - 1)]
    }
}
