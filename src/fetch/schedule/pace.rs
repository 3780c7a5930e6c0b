//! How often a store is asked: a burst, and then a steady pace.
#![forbid(unsafe_code)]

use std::time::Duration;

/// Requests a second that a store gets beyond the burst.
const A_SECOND: f64 = 2.0;

/// The requests that one store may still get.
pub struct Pace {
    burst: f64,
    left: f64,
    at: Duration,
}

impl Pace {
    /// With this burst, all of which is left.
    pub fn new(burst: usize, now: Duration) -> Self {
        Self { burst: burst as f64, left: burst as f64, at: now }
    }

    /// Takes one request, or says when there will be one.
    pub fn take(&mut self, now: Duration) -> Result<(), Duration> {
        let since = now.saturating_sub(self.at).as_secs_f64();
        (self.left, self.at) = ((self.left + since * A_SECOND).min(self.burst), now);
        if self.left >= 1.0 {
            self.left -= 1.0;
            return Ok(());
        }
        Err(now + Duration::from_secs_f64((1.0 - self.left) / A_SECOND))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_burst_there_are_two_requests_a_second() {
        let mut pace = Pace::new(4, Duration::ZERO);
        let mut taken = 0;
        for tenth in 0..100 {
            while pace.take(Duration::from_millis(tenth * 100)).is_ok() {
                taken += 1;
            }
        }
        assert!((4 + 19..=4 + 20).contains(&taken), "{taken} in ten seconds");
        let next = pace.take(Duration::from_secs(10)).and_then(|()| pace.take(Duration::from_secs(10)));
        assert!(next.unwrap_err() <= Duration::from_millis(10_500));
    }
}
