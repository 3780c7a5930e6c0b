//! Limits the requests to a store: a burst, and then a steady rate.
#![forbid(unsafe_code)]

use std::time::Duration;

/// Requests a second beyond the burst.
const A_SECOND: f64 = 2.0;

/// The part of the burst that is reserved for [`Pace::take`], however many further requests were made.
const RESERVED: f64 = 0.5;

/// The requests that one store may still get.
pub struct Pace {
    burst: f64,
    left: f64,
    /// Requests that were made beyond those taken: the read of a list takes several.
    debt: f64,
    at: Duration,
    /// How many requests are accounted for, of all that were ever made.
    accounted: Option<u64>,
    /// How many requests are not answered yet. Each may reach the store only now, so the burst is smaller by their number.
    under_way: usize,
}

impl Pace {
    /// With this burst, all of which is left.
    pub fn new(burst: usize, now: Duration) -> Self {
        Self { burst: burst as f64, left: burst as f64, debt: 0.0, at: now, accounted: None, under_way: 0 }
    }

    /// Takes this many requests, or returns when they will be available. Urgent requests do not wait until the debt is paid.
    pub fn take(&mut self, requests: usize, is_urgent: bool, now: Duration) -> Result<(), Duration> {
        self.earn(now);
        let taken = (requests as f64).min(self.burst);
        let missing = match self.left >= taken {
            true if is_urgent => 0.0,
            true => self.debt,
            false => self.debt + taken - self.left,
        };
        if missing > 0.0 {
            return Err(now + Duration::from_secs_f64(missing / A_SECOND));
        }
        self.left -= taken;
        self.under_way += requests;
        self.accounted = self.accounted.map(|accounted| accounted + requests as u64);
        Ok(())
    }

    /// Counts the requests that were made so far, of which `under_way` are not answered. Those made before the first call do not count.
    pub fn count_requests(&mut self, requests: u64, under_way: usize, now: Duration) {
        self.earn(now);
        let accounted = self.accounted.unwrap_or(requests);
        let more = requests.saturating_sub(accounted) as f64;
        let of_burst = more.min((self.left - self.burst * RESERVED).max(0.0));
        self.left -= of_burst;
        self.debt += more - of_burst;
        // Several reads can share one request, which gives later ones no credit.
        self.accounted = Some(if under_way == 0 { requests } else { accounted.max(requests) });
        self.under_way = under_way;
    }

    /// Pays the debt, and then fills the burst.
    fn earn(&mut self, now: Duration) {
        let earned = now.saturating_sub(self.at).as_secs_f64() * A_SECOND;
        let paid = earned.min(self.debt);
        self.debt -= paid;
        let most = (self.burst - self.under_way as f64).max(0.0);
        (self.left, self.at) = ((self.left + earned - paid).min(most), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    /// Takes all available requests at each tenth of a second. Each read makes `requests_each` of them. Returns how many were made.
    fn reads(pace: &mut Pace, seconds: u64, requests_each: u64) -> u64 {
        let mut requests = 0;
        for tenth in 0..seconds * 10 {
            let now = Duration::from_millis(tenth * 100);
            pace.count_requests(requests, 0, now);
            while pace.take(1, false, now).is_ok() {
                requests += requests_each;
                pace.count_requests(requests, 0, now);
            }
        }
        requests
    }

    #[test]
    fn after_the_burst_there_are_two_requests_a_second() {
        let mut pace = Pace::new(4, NOW);
        let requests = reads(&mut pace, 10, 1);
        assert!((4 + 19..=4 + 20).contains(&requests), "{requests} in ten seconds");
        let ten = Duration::from_secs(10);
        let next = pace.take(1, false, ten).and_then(|()| pace.take(1, false, ten));
        assert!(next.unwrap_err() <= Duration::from_millis(10_500));
    }

    #[test]
    fn reads_that_come_to_more_requests_are_fewer() {
        let requests = reads(&mut Pace::new(4, NOW), 100, 3);
        assert!((190..=4 + 200 + 3).contains(&requests), "{requests} in a hundred seconds");
    }

    #[test]
    fn what_is_urgent_waits_for_no_debt_and_several_reads_can_be_one_request() {
        let mut pace = Pace::new(4, NOW);
        pace.count_requests(0, 0, NOW);
        pace.count_requests(1000, 0, NOW);
        assert_eq!(pace.take(1, false, NOW), Err(Duration::from_secs(499)));
        assert_eq!([(); 3].map(|()| pace.take(1, true, NOW).is_ok()), [true, true, false]);
        let mut pace = Pace::new(4, NOW);
        pace.count_requests(0, 0, NOW);
        assert!(pace.take(1, false, NOW).is_ok() && pace.take(1, false, NOW).is_ok());
        pace.count_requests(1, 1, NOW);
        pace.count_requests(2, 0, NOW);
        pace.count_requests(3, 0, NOW);
        assert_eq!(pace.take(1, false, NOW), Err(Duration::from_millis(500)), "two were taken, and three made");
    }

    #[test]
    fn more_requests_than_the_burst_take_all_of_it() {
        let mut pace = Pace::new(1, NOW);
        assert_eq!(pace.take(2, true, NOW), Ok(()));
        pace.count_requests(2, 0, NOW);
        assert_eq!(pace.take(2, true, NOW), Err(Duration::from_millis(500)));
    }

    #[test]
    fn however_late_requests_reach_the_store_it_sees_no_more_than_the_burst_and_two_a_second() {
        let millis = |time: u64| Duration::from_millis(time);
        let mut pace = Pace::new(8, NOW);
        let (mut answers, mut arrivals, mut made) = (Vec::new(), Vec::new(), 0);
        for time in (0..600_000).step_by(10) {
            answers.retain(|answer| *answer > time);
            pace.count_requests(made, answers.len(), millis(time));
            // With pauses of ten seconds, in which the burst fills again.
            let is_wanted = time / 10_000 % 3 != 0;
            while is_wanted && pace.take(1, fastrand::bool(), millis(time)).is_ok() {
                made += 1;
                let answer = time + fastrand::u64(1..3000);
                answers.push(answer);
                arrivals.push(fastrand::u64(time..answer));
            }
        }
        arrivals.sort_unstable();
        assert!(made > 600, "{made}");
        for (at, first) in arrivals.iter().enumerate() {
            for (count, last) in arrivals[at..].iter().enumerate() {
                let most = 8.0 + millis(last - first).as_secs_f64() * A_SECOND;
                assert!((count + 1) as f64 <= most + 1e-6, "{} requests from {first} to {last} ms", count + 1);
            }
        }
    }
}
