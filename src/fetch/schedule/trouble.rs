//! Failures in a row: when to try again, and how each is logged.
#![forbid(unsafe_code)]

use std::time::Duration;

use handfast_core::{ErrorKind, ProviderError, whole_seconds};

/// The pause after the first failure is a random part of this, after the next of twice this, and so on.
pub const BASE: Duration = Duration::from_secs(1);

/// No pause is a part of more than this.
pub const LONGEST: Duration = Duration::from_secs(60);

/// The longest wait that a store may ask for with `Retry-After`.
const LONGEST_ASKED: Duration = Duration::from_secs(300);

/// Failures in a row.
pub struct Trouble {
    /// When the first failure was, in boot time.
    since: Duration,
    failures: u32,
    /// Whether an error has said that the failure does not pass by itself.
    is_logged: bool,
}

/// The consequences of a failure.
pub struct Verdict {
    /// When to try again; `None` for the usual time.
    pub pause: Option<Duration>,
    /// The severity of its log line.
    pub severity: Severity,
}

/// The severity of a failure's log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// At level `debug`: the failure was logged before.
    Debug,
    /// A warning: the failure may pass.
    Warning,
    /// An error: the user has to fix the cause.
    Error,
}

/// The longest pause after the n-th failure.
fn longest_pause(failures: u32) -> Duration {
    BASE.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST)
}

/// How long to wait after the n-th failure in a row: at least half of the longest pause, unlike the retry of a read.
pub fn pause(failures: u32) -> Duration {
    longest_pause(failures).mul_f64(0.5 + 0.5 * fastrand::f64())
}

/// Whether a failed renewal was refused for good. Any other failure, such as a proxy's page in place of the answer, may pass.
pub fn is_refusal(error: &ProviderError) -> bool {
    matches!(error.kind, ErrorKind::Denied | ErrorKind::NotFound)
}

/// How long a store asks to wait, within bounds.
pub fn asked(error: &ProviderError) -> Option<Duration> {
    error.retry_after.map(|asked| asked.min(LONGEST_ASKED))
}

impl Trouble {
    /// Before the first failure.
    pub fn new(now: Duration) -> Self {
        Self { since: now, failures: 0, is_logged: false }
    }

    /// One more failure. `random` is from 0 to 1.
    pub fn add(&mut self, error: &ProviderError, random: f64) -> Verdict {
        self.failures = self.failures.saturating_add(1);
        if error.kind != ErrorKind::Unavailable {
            let severity = if std::mem::replace(&mut self.is_logged, true) { Severity::Debug } else { Severity::Error };
            return Verdict { pause: None, severity };
        }
        // A permanent failure after this temporary one is logged again.
        self.is_logged = false;
        let most = longest_pause(self.failures);
        let asked = asked(error).unwrap_or_default();
        let severity = if self.failures.is_power_of_two() { Severity::Warning } else { Severity::Debug };
        Verdict { pause: Some(asked + most.mul_f64(random)), severity }
    }

    /// How long it has lasted.
    pub fn lasted(&self, now: Duration) -> humantime::FormattedDuration {
        whole_seconds(now.saturating_sub(self.since))
    }

    /// Logs a failure with this severity; the first time also what stays in place.
    pub fn log(&self, severity: Severity, what: &str, stays: &str, error: &ProviderError, now: Duration) {
        match severity {
            Severity::Debug => handfast_core::debug!("{what}: {error}"),
            Severity::Warning if self.failures == 1 => tracing::warn!(target: "handfast", "{what}, {stays}: {error}"),
            Severity::Warning => {
                let (failures, lasted) = (self.failures, self.lasted(now));
                tracing::warn!(target: "handfast", "{what}, {failures} times in {lasted}: {error}");
            }
            Severity::Error => tracing::error!(target: "handfast", "{what}, {stays}: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(kind: ErrorKind) -> ProviderError {
        ProviderError::new(kind, "no")
    }

    #[test]
    fn an_outage_is_asked_about_less_and_less_and_told_at_each_doubling() {
        let mut trouble = Trouble::new(Duration::ZERO);
        let verdicts: Vec<Verdict> = (0..10).map(|_| trouble.add(&failure(ErrorKind::Unavailable), 1.0)).collect();
        let pauses: Vec<u64> = verdicts.iter().map(|verdict| verdict.pause.unwrap().as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
        let told: Vec<usize> = (1..=10).filter(|at| verdicts[at - 1].severity == Severity::Warning).collect();
        assert_eq!(told, [1, 2, 4, 8]);
    }

    #[test]
    fn a_denial_is_told_once_and_tried_at_the_usual_time() {
        let mut trouble = Trouble::new(Duration::ZERO);
        for expected in [Severity::Error, Severity::Debug, Severity::Debug] {
            let verdict = trouble.add(&failure(ErrorKind::Denied), 0.5);
            assert_eq!((verdict.pause, verdict.severity), (None, expected));
        }
        assert_eq!(trouble.lasted(Duration::from_secs(9)).to_string(), "9s");
    }

    #[test]
    fn what_a_store_asks_for_is_honoured_and_capped() {
        let asked = |seconds| {
            let error = failure(ErrorKind::Unavailable).retry_after(Duration::from_secs(seconds));
            Trouble::new(Duration::ZERO).add(&error, 0.0).pause.unwrap().as_secs()
        };
        assert_eq!((asked(7), asked(7000)), (7, 300));
    }
}
