//! When a keeper writes its status: at once if the old status would mislead, else about once a second, however often secrets are read.
#![forbid(unsafe_code)]

use std::time::Duration;

/// How long frequent changes of the status are collected.
const PAUSE: Duration = Duration::from_secs(1);

/// When the status is written next. Times are since the machine's start.
pub struct StatusSchedule {
    /// `None` if the written status is up to date.
    due: Option<Duration>,
    /// When it was written last.
    last: Duration,
    /// When the next secret becomes stale according to the written status, which `ready` relies on.
    end: Option<Duration>,
}

impl StatusSchedule {
    /// The schedule before the first status.
    pub fn new() -> Self {
        Self { due: Some(Duration::ZERO), last: Duration::ZERO, end: None }
    }

    /// Makes the status due at once.
    pub fn now(&mut self) {
        self.due = Some(Duration::ZERO);
    }

    /// Makes the status due soon: the times of a secret have changed, and the secret becomes stale at `end`.
    pub fn soon(&mut self, end: Option<Duration>) {
        if end.is_some_and(|end| self.end.is_none_or(|written| end < written)) {
            return self.now();
        }
        let next = self.last + PAUSE;
        self.due.get_or_insert(self.end.map_or(next, |end| next.min(end)));
    }

    /// When the status is written next.
    pub fn due(&self) -> Option<Duration> {
        self.due
    }

    /// Notes that the status was written. According to it, the next secret becomes stale at `end`.
    pub fn written(&mut self, now: Duration, end: Option<Duration>) {
        *self = Self { due: None, last: now, end };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_all_the_time_is_told_once_a_second_and_before_it_misleads() {
        let second = Duration::from_secs;
        let mut status_schedule = StatusSchedule::new();
        assert_eq!(status_schedule.due(), Some(second(0)), "the first one at once");
        status_schedule.written(second(10), Some(second(60)));
        assert_eq!(status_schedule.due(), None);
        status_schedule.soon(Some(second(90)));
        assert_eq!(status_schedule.due(), Some(second(11)));
        status_schedule.soon(None);
        status_schedule.now();
        status_schedule.soon(None);
        assert_eq!(status_schedule.due(), Some(second(0)), "what matters does not wait");
        let end = second(20) + Duration::from_millis(300);
        status_schedule.written(second(20), Some(end));
        status_schedule.soon(None);
        assert_eq!(status_schedule.due(), Some(end));
        for told in [None, Some(second(60))] {
            status_schedule.written(second(30), told);
            status_schedule.soon(Some(second(50)));
            assert_eq!(status_schedule.due(), Some(second(0)), "nobody knows of this end yet");
        }
    }
}
