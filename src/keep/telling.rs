//! When a keeper writes its status: at once where the old one would mislead, else about once a second, however much is read.
#![forbid(unsafe_code)]

use std::time::Duration;

/// How long what changes all the time waits for more.
const PAUSE: Duration = Duration::from_secs(1);

/// When the status is written next. Times are since the machine's start.
pub struct Telling {
    /// `None` where it says all that there is.
    due: Option<Duration>,
    /// When it was written last.
    last: Duration,
    /// When, by what was written last, the next secret becomes stale: whoever reads it goes by that.
    end: Option<Duration>,
}

impl Telling {
    /// Before the first one.
    pub fn new() -> Self {
        Self { due: Some(Duration::ZERO), last: Duration::ZERO, end: None }
    }

    /// Makes the status due at once: something has changed that matters.
    pub fn now(&mut self) {
        self.due = Some(Duration::ZERO);
    }

    /// Makes the status due soon: the times of a secret have changed, which becomes stale at `end`.
    pub fn soon(&mut self, end: Option<Duration>) {
        if end.is_some_and(|end| self.end.is_none_or(|told| end < told)) {
            return self.now();
        }
        let next = self.last + PAUSE;
        self.due.get_or_insert(self.end.map_or(next, |end| next.min(end)));
    }

    /// When it is written next.
    pub fn due(&self) -> Option<Duration> {
        self.due
    }

    /// Takes note that the status was written, which says that the next secret becomes stale at `end`.
    pub fn told(&mut self, now: Duration, end: Option<Duration>) {
        *self = Self { due: None, last: now, end };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_all_the_time_is_told_once_a_second_and_before_it_misleads() {
        let second = Duration::from_secs;
        let mut telling = Telling::new();
        assert_eq!(telling.due(), Some(second(0)), "the first one at once");
        telling.told(second(10), Some(second(60)));
        assert_eq!(telling.due(), None);
        telling.soon(Some(second(90)));
        assert_eq!(telling.due(), Some(second(11)));
        telling.soon(None);
        telling.now();
        telling.soon(None);
        assert_eq!(telling.due(), Some(second(0)), "what matters does not wait");
        let end = second(20) + Duration::from_millis(300);
        telling.told(second(20), Some(end));
        telling.soon(None);
        assert_eq!(telling.due(), Some(end));
        for told in [None, Some(second(60))] {
            telling.told(second(30), told);
            telling.soon(Some(second(50)));
            assert_eq!(telling.due(), Some(second(0)), "nobody knows of this end yet");
        }
    }
}
