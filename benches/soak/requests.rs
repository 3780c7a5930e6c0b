//! The times of requests.

use std::time::{Duration, Instant};

/// Requests in time.
pub struct Requests(Vec<Instant>);

impl Requests {
    pub fn new(mut times: Vec<Instant>) -> Self {
        times.sort();
        Self(times)
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The most in any such span.
    pub fn most_within(&self, span: Duration) -> usize {
        let within =
            |(at, first): (usize, &Instant)| self.0[at..].iter().take_while(|time| **time < *first + span).count();
        self.0.iter().enumerate().map(within).max().unwrap_or(0)
    }

    /// By how many requests they have crossed a burst and so many a second, and when.
    pub fn over(&self, burst: f64, a_second: f64) -> Option<(f64, Instant)> {
        let (mut used, mut most, mut last) = (0.0_f64, None, None);
        for time in &self.0 {
            let since = last.replace(*time).map_or(Duration::ZERO, |last| *time - last);
            used = (used - since.as_secs_f64() * a_second).max(0.0) + 1.0;
            let over = used - burst;
            if over > most.map_or(0.0, |(most, _)| most) {
                most = Some((over, *time));
            }
        }
        most
    }
}
