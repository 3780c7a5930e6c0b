//! The lifetime of a lease, a login or a certificate: when it is renewed, when it is replaced, and when it ends.
#![forbid(unsafe_code)]

use std::time::Duration;

use handfast_core::Grant;

use super::trouble;

/// The parts of a lifetime between which a renewal is due: a third of it is left for an outage.
const RENEWED: (f64, f64) = (0.50, 0.67);

/// The part of a lifetime after which it is replaced if its renewals keep failing.
const LAST_RENEWAL: f64 = 0.80;

/// The least pause near an end, where a pause is at most half of the time that is left.
const LEAST_BEFORE_END: Duration = Duration::from_secs(2);

/// A renewal that grants less than this part of the time it asked for is the last: the end of all renewals is near.
const FULL: f64 = 0.90;

/// The part of such a shorter lifetime at which it is replaced.
const SHORTENED: f64 = 0.67;

/// How much later a lost lease counts as ended: usually it is replaced by then.
pub const REPLACEMENT_GRACE: Duration = Duration::from_secs(1);

/// The bounds of the time between two issuances, which is a tenth of the lifetime.
const LEAST_BETWEEN: Duration = Duration::from_secs(1);
const MOST_BETWEEN: Duration = Duration::from_secs(30);

/// The longest lifetime: a longer one counts as this.
pub const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// The kind of a lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A lease.
    Lease,
    /// The login to a store.
    Login,
    /// A secret that was issued without a lease and ends, such as a certificate.
    Certificate,
}

/// The next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A renewal.
    Renew,
    /// A replacement: a new issuance, or a new login.
    Replace,
}

/// A lifetime. Every time is since the machine's start.
pub struct Lifetime {
    kind: Kind,
    /// How long it was issued for. A renewal asks for the same time.
    whole: Duration,
    /// When it was granted, or renewed last.
    begun: Duration,
    /// How long it lasts from then on, if its login does not end before.
    life: Duration,
    step: Step,
    /// When that step is due.
    due: Duration,
    /// How often in a row the step has failed.
    failures: u32,
    /// Whether it can be replaced.
    is_replaceable: bool,
    /// Whether it is replaced only because its renewals have failed: they are still possible.
    is_renewal_open: bool,
    /// When the login ends that it was issued for, if that is not renewed any more.
    login_end: Option<Duration>,
    /// When it is to be replaced at the latest.
    latest_due: Option<Duration>,
}

impl Lifetime {
    /// The lifetime of a grant for `whole`, which was made `age` ago. `random` is between 0 and 1.
    pub fn new(kind: Kind, whole: Duration, age: Duration, renewable: bool, now: Duration, random: f64) -> Self {
        let (whole, step) = (whole.min(LONGEST), if renewable { Step::Renew } else { Step::Replace });
        let share = if renewable { between(RENEWED, random) } else { kind.share(random) };
        let due = (now + whole.mul_f64(share)).saturating_sub(age);
        Self {
            kind,
            whole,
            begun: now.saturating_sub(age),
            life: whole,
            step,
            due,
            failures: 0,
            is_replaceable: true,
            is_renewal_open: false,
            login_end: None,
            latest_due: None,
        }
    }

    /// The same without a replacement: a renewal that fails is tried again until the end.
    pub fn never_replaced(self) -> Self {
        Self { is_replaceable: false, ..self }
    }

    /// Takes the grant of a renewal, which counts from now.
    pub fn renewed(&mut self, Grant { life, renewable }: Grant, now: Duration, random: f64) {
        let is_full = life >= self.whole.mul_f64(FULL);
        (self.life, self.begun, self.failures, self.is_renewal_open) = (life.min(LONGEST), now, 0, false);
        let share = match renewable && is_full {
            true => between(RENEWED, random),
            false => SHORTENED,
        };
        self.step = if renewable && is_full { Step::Renew } else { Step::Replace };
        self.due = now + self.life.mul_f64(share);
        if let Some(latest) = self.latest_due {
            (self.step, self.due) = (Step::Replace, self.due.min(latest));
        }
    }

    /// Notes that the store refuses all further renewals: it is replaced.
    pub fn renewal_refused(&mut self, now: Duration, random: f64) {
        (self.step, self.failures, self.is_renewal_open) = (Step::Replace, 0, false);
        self.due = (self.begun + self.lasts().mul_f64(self.kind.share(random))).max(now);
    }

    /// Notes that a step has failed temporarily. The store asks to wait for `asked`.
    pub fn failed(&mut self, asked: Option<Duration>, now: Duration) {
        self.failures = self.failures.saturating_add(1);
        let mut pause = trouble::pause(self.failures);
        let last = (self.begun + self.lasts().mul_f64(LAST_RENEWAL)).saturating_sub(now);
        // After its end, renewals are tried only until the store reports that it is gone.
        let left = Some(self.end().saturating_sub(now)).filter(|left| !left.is_zero());
        let longest = left.map_or(Duration::MAX, |left| (left / 2).max(LEAST_BEFORE_END));
        if !self.is_replaceable || self.is_renewal_open {
            pause = pause.min(longest);
            if self.is_renewal_open {
                self.step = if self.step == Step::Renew { Step::Replace } else { Step::Renew };
            }
        } else if self.step == Step::Renew && pause >= last {
            (self.step, pause) = (Step::Replace, last.max(trouble::BASE).min(pause));
            // A secret with a lease is issued anew. A new login can be refused, for example because its secret id is used up: then the
            // renewal of the earlier login is the only way left.
            self.is_renewal_open = self.kind == Kind::Login;
        }
        // A long `Retry-After` must not let the lease or login end.
        self.due = now + pause.max(asked.unwrap_or_default().min(longest));
    }

    /// Notes that it has ended before its time: it is replaced at once.
    pub fn lost(&mut self, now: Duration) {
        self.renewal_refused(now, 0.0);
        self.due = now;
        self.life = self.life.min((now + REPLACEMENT_GRACE).saturating_sub(self.begun));
    }

    /// Lets it end at `end`, and be replaced at `due` at the latest.
    pub fn replace_by(&mut self, end: Duration, due: Duration) {
        self.set_login_end(Some(end));
        (self.step, self.due) = (Step::Replace, self.due.min(due));
        self.latest_due = Some(due);
    }

    /// Lets it end with its login, at `end`, even if its renewals grant more time; `None` if its login does not end.
    pub fn set_login_end(&mut self, end: Option<Duration>) {
        self.login_end = end;
    }

    /// Whether no renewal can be expected any more: none is planned, or the last one has failed and it cannot be replaced.
    pub fn is_last(&self) -> bool {
        self.step == Step::Replace || self.is_renewal_open || !self.is_replaceable && self.failures > 0
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The next step.
    pub fn step(&self) -> Step {
        self.step
    }

    /// When that step is due.
    pub fn due(&self) -> Duration {
        self.due
    }

    /// When it ends.
    pub fn end(&self) -> Duration {
        let own = self.begun + self.life;
        self.login_end.map_or(own, |end| end.min(own))
    }

    /// How long it lasts from the last grant on.
    fn lasts(&self) -> Duration {
        self.end().saturating_sub(self.begun)
    }

    /// The least time between two issuances.
    pub fn between_issuances(&self) -> Duration {
        (self.whole / 10).clamp(LEAST_BETWEEN, MOST_BETWEEN)
    }
}

impl Kind {
    /// The part of a lifetime at which it is replaced, if it cannot be renewed.
    fn share(self, random: f64) -> f64 {
        match self {
            Kind::Lease => between((0.67, 0.80), random),
            Kind::Login => 0.67,
            Kind::Certificate => between((0.50, 0.67), random),
        }
    }
}

/// A value between these two. `random` is from 0 to 1.
pub fn between((least, most): (f64, f64), random: f64) -> f64 {
    least + (most - least) * random
}

#[cfg(test)]
mod tests;
