//! One measured value over the time of a soak.

/// The samples of a minute and a half.
const START: usize = 9;

/// Its samples, in order.
pub struct Course {
    pub name: String,
    /// How much it may grow after the start.
    bound: u64,
    samples: Vec<u64>,
}

impl Course {
    pub fn new(name: String, bound: u64) -> Self {
        Self { name, bound, samples: Vec::new() }
    }

    pub fn add(&mut self, sample: u64) {
        self.samples.push(sample);
    }

    /// A line of the table: after the start, the most after that, and at the end.
    pub fn line(&self) -> String {
        let after = self.after_the_start();
        let (first, most, last) = (after[0], after.iter().max().unwrap_or(&0), after[after.len() - 1]);
        format!("{:<56}{first:>12}{most:>8}{last:>12}{:>13}", self.name, self.bound)
    }

    /// What is wrong with it.
    pub fn complaint(&self) -> Option<String> {
        let after = self.after_the_start();
        let (first, most) = (after[0], *after.iter().max()?);
        let grown = most.saturating_sub(first);
        (grown > self.bound).then(|| format!("{}: grown by {grown}, at most {} are right", self.name, self.bound))
    }

    /// What it was after the first tenth of the time, and after as many samples as it takes until sixteen sets are kept. There is
    /// one sample at least.
    fn after_the_start(&self) -> &[u64] {
        let start = (self.samples.len() / 10).max(START).min(self.samples.len() - 1);
        &self.samples[start..]
    }
}
