//! How often a store is asked: a burst, and then a steady pace.
#![forbid(unsafe_code)]

use std::time::Duration;

/// Requests a second that a store gets beyond the burst.
const A_SECOND: f64 = 2.0;

/// The part of the burst that stays for [`Pace::take`], however many requests were made beyond those taken.
const RESERVED: f64 = 0.5;

/// The requests that one store may still get.
pub struct Pace {
    burst: f64,
    left: f64,
    /// Requests that were made beyond those taken: the read of a list comes to several.
    debt: f64,
    at: Duration,
    /// How many requests are accounted for, of all that were ever made.
    accounted: Option<u64>,
}

impl Pace {
    /// With this burst, all of which is left.
    pub fn new(burst: usize, now: Duration) -> Self {
        Self { burst: burst as f64, left: burst as f64, debt: 0.0, at: now, accounted: None }
    }

    /// Takes one request, or says when there will be one. What is urgent does not wait until the debt is paid.
    pub fn take(&mut self, is_urgent: bool, now: Duration) -> Result<(), Duration> {
        let earned = now.saturating_sub(self.at).as_secs_f64() * A_SECOND;
        let paid = earned.min(self.debt);
        self.debt -= paid;
        (self.left, self.at) = ((self.left + earned - paid).min(self.burst), now);
        let missing = match self.left >= 1.0 {
            true if is_urgent => 0.0,
            true => self.debt,
            false => self.debt + 1.0 - self.left,
        };
        if missing > 0.0 {
            return Err(now + Duration::from_secs_f64(missing / A_SECOND));
        }
        self.left -= 1.0;
        self.accounted = self.accounted.map(|accounted| accounted + 1);
        Ok(())
    }

    /// So many requests were ever made. The first time, none of them counts. `is_idle` where none is under way.
    pub fn made(&mut self, requests: u64, is_idle: bool) {
        let accounted = self.accounted.unwrap_or(requests);
        let more = requests.saturating_sub(accounted) as f64;
        let of_burst = more.min((self.left - self.burst * RESERVED).max(0.0));
        self.left -= of_burst;
        self.debt += more - of_burst;
        // Several reads can come to one request; that makes none cheaper later.
        self.accounted = Some(if is_idle { requests } else { accounted.max(requests) });
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
            while pace.take(false, Duration::from_millis(tenth * 100)).is_ok() {
                taken += 1;
            }
        }
        assert!((4 + 19..=4 + 20).contains(&taken), "{taken} in ten seconds");
        let ten = Duration::from_secs(10);
        let next = pace.take(false, ten).and_then(|()| pace.take(false, ten));
        assert!(next.unwrap_err() <= Duration::from_millis(10_500));
    }

    #[test]
    fn reads_that_come_to_more_requests_are_fewer() {
        let mut pace = Pace::new(4, Duration::ZERO);
        let mut requests = 7;
        pace.made(requests, true);
        for tenth in 0..1000 {
            while pace.take(false, Duration::from_millis(tenth * 100)).is_ok() {
                requests += 3;
                pace.made(requests, true);
            }
        }
        assert!((190..=4 + 200 + 3).contains(&(requests - 7)), "{requests} in a hundred seconds");
    }

    #[test]
    fn what_is_urgent_waits_for_no_debt_and_several_reads_can_be_one_request() {
        let now = Duration::ZERO;
        let mut pace = Pace::new(4, now);
        pace.made(0, true);
        pace.made(1000, true);
        assert_eq!(pace.take(false, now), Err(Duration::from_secs(499)));
        assert_eq!([(); 3].map(|()| pace.take(true, now).is_ok()), [true, true, false]);
        let mut pace = Pace::new(4, now);
        pace.made(0, true);
        assert!(pace.take(false, now).is_ok() && pace.take(false, now).is_ok());
        pace.made(1, false);
        pace.made(2, true);
        pace.made(3, true);
        assert_eq!(pace.take(false, now), Err(Duration::from_millis(500)), "two were taken, and three made");
    }
}
