//! Minimum, median and percentiles of durations. The minimum says what the work costs; the others what a busy machine adds.

use std::time::Duration;

/// Durations of one contender, in the order of the rounds, in microseconds.
pub struct Samples {
    by_round: Vec<f64>,
    sorted: Vec<f64>,
}

impl Samples {
    /// At least one duration, in the order of the rounds.
    pub fn new(durations: &[Duration]) -> Self {
        Self::from_microseconds(durations.iter().map(|duration| duration.as_secs_f64() * 1e6).collect())
    }

    fn from_microseconds(by_round: Vec<f64>) -> Self {
        let mut sorted = by_round.clone();
        sorted.sort_by(f64::total_cmp);
        Self { by_round, sorted }
    }

    /// Round by round, the time over `other`'s: what disturbs a round disturbs both.
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
