//! The status of a keeper's secrets: names and times, and no value.
#![forbid(unsafe_code)]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::earlier::{Earlier, SecretStatus};
use crate::plan::Plan;
use crate::sys::clock::boot_time;
use crate::worker::Report;

/// The times of all secrets, and of the generation. Times are since the machine's start.
pub struct Status {
    generation: u32,
    secrets: Vec<Times>,
    max_stale: Option<Duration>,
    /// Whether the worker is lost, so that no secret is read again.
    is_lost: bool,
}

/// The secrets that an update has found stale.
pub struct Aged {
    /// Those that have become stale.
    pub stale: Vec<usize>,
    /// Whether any has become stale, or fresh again.
    pub is_news: bool,
}

struct Times {
    changed: Duration,
    read: Duration,
    /// When its next read or renewal is due; `None` for never.
    next: Option<Duration>,
    /// When it ends; `None` for never.
    end: Option<Duration>,
    /// Since when a successful read has been due; `max_stale` counts from here.
    owed: Option<Duration>,
    files: Vec<String>,
    is_stale: bool,
    /// Whether its value is of the earlier keeper, and could not be read since.
    is_unread: bool,
}

impl Status {
    /// The status after the first generation, or of the earlier keeper's. `files` returns the names of a secret's files.
    pub fn new(plan: &Plan, earlier: Option<&Earlier>, files: impl Fn(usize) -> Vec<String>) -> Self {
        let (now, max_stale) = (boot_time(), plan.watching.max_stale);
        let times = |secret: usize| {
            let entry = earlier.map(|earlier| earlier.status_of(secret));
            let end = entry.and_then(|entry| entry.stale_at_boot).map(Duration::from_secs);
            Times {
                changed: entry.map_or(now, SecretStatus::last_change),
                read: entry.map_or(now, SecretStatus::last_success),
                next: None,
                end: entry.and_then(SecretStatus::end),
                // A secret without a time in the earlier status: the read that has just failed was due now.
                owed: entry.map(|_| end.map_or(now, |end| end.saturating_sub(max_stale.unwrap_or_default()))),
                files: files(secret),
                is_stale: false,
                is_unread: entry.is_some(),
            }
        };
        Self { generation: 1, secrets: (0..plan.secrets.len()).map(times).collect(), max_stale, is_lost: false }
    }

    /// Notes the result of a read. Returns when the secret becomes stale, unless it is read before.
    pub fn report(&mut self, secret: usize, report: Report) -> Option<Duration> {
        let (now, times) = (boot_time(), &mut self.secrets[secret]);
        let at = |time: Option<u64>| time.map(|time| now + Duration::from_millis(time));
        times.next = at(report.next);
        // A worker that has not read the secret yet knows no end, which does not replace the end of the earlier status.
        if report.is_success || report.end.is_some() {
            times.end = at(report.end);
        }
        if report.is_success {
            (times.read, times.owed, times.is_unread) = (now, times.next, false);
        }
        times.stale_at(self.max_stale)
    }

    /// A generation was published in which these secrets have changed.
    pub fn published(&mut self, secrets: &[usize], files: impl Fn(usize) -> Vec<String>) {
        let now = boot_time();
        self.generation = self.generation.saturating_add(1);
        for secret in secrets {
            let times = &mut self.secrets[*secret];
            (times.changed, times.files) = (now, files(*secret));
        }
    }

    /// Updates which secrets are stale now.
    pub fn age(&mut self) -> Aged {
        let (now, max_stale, is_lost) = (boot_time(), self.max_stale, self.is_lost);
        let (mut stale, mut is_news) = (Vec::new(), false);
        for (secret, times) in self.secrets.iter_mut().enumerate() {
            let is_stale = is_lost || times.stale_at(max_stale).is_some_and(|end| end <= now);
            let was_stale = std::mem::replace(&mut times.is_stale, is_stale);
            is_news |= is_stale != was_stale;
            if is_stale && !was_stale {
                stale.push(secret);
            }
        }
        Aged { stale, is_news }
    }

    /// Notes that the worker is lost: all secrets are stale from now on.
    pub fn lose(&mut self) {
        self.is_lost = true;
    }

    /// Whether a value of the earlier keeper could not be read since: another start would not get it either.
    pub fn has_unread(&self) -> bool {
        self.secrets.iter().any(|times| times.is_unread)
    }

    /// When a secret ends.
    pub fn end(&self, secret: usize) -> Option<Duration> {
        self.secrets[secret].end
    }

    /// Whether a secret has ended.
    pub fn has_ended(&self, secret: usize) -> bool {
        self.end(secret).is_some_and(|end| end <= boot_time())
    }

    /// When the next secret becomes stale, unless it is read before.
    pub fn next_end(&self) -> Option<Duration> {
        self.secrets.iter().filter(|times| !times.is_stale).filter_map(|times| times.stale_at(self.max_stale)).min()
    }

    /// The status as JSON. Its times are those of the clock as it is now.
    pub fn json(&self, plan: &Plan) -> Vec<u8> {
        let (now, day) = (boot_time(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        let past = |time: Duration| day.saturating_sub(now.saturating_sub(time)).as_secs();
        let to_come = |time: Duration| (day + time).saturating_sub(now).as_secs();
        let secret = |(secret, times): (&crate::plan::Secret, &Times)| {
            json!({
                "name": secret.name,
                "from": secret.reference.to_string(),
                "files": times.files,
                "last_change": past(times.changed),
                "last_success": past(times.read),
                "next": times.next.map(to_come),
                "end": times.end.map(to_come),
                "stale": times.is_stale,
                "stale_at": times.stale_at(self.max_stale).map(to_come),
                "stale_at_boot": times.stale_at(self.max_stale).map(|end| end.as_secs()),
            })
        };
        let secrets: Vec<Value> = plan.secrets.iter().zip(&self.secrets).map(secret).collect();
        let mut text = json!({ "generation": self.generation, "secrets": secrets }).to_string().into_bytes();
        text.push(b'\n');
        text
    }
}

impl Times {
    /// When the secret becomes stale, unless it is read before.
    fn stale_at(&self, max_stale: Option<Duration>) -> Option<Duration> {
        let unread = self.owed.zip(max_stale).map(|(owed, max_stale)| owed + max_stale);
        unread.into_iter().chain(self.end).min()
    }
}
