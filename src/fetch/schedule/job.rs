//! One request: when it is made again, how its answer changes that, and how its failures are logged.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::time::Duration;

use handfast_core::{ErrorKind, Grant, ProviderError, Term, whole_seconds};

use super::lifetime::{self, Kind, LONGEST, Lifetime, Step};
use super::trouble::{self, Trouble, Verdict};
use crate::fetch::outcome::Failure;
use crate::plan::{OnChange, Plan, Purpose, Secret};

/// How long after a rotation by the store the new value is read.
const AFTER_ROTATION: Duration = Duration::from_secs(1);

/// The parts of the time to its end between which a secret is read again: it may have got another end or another value.
const BEFORE_END: (f64, f64) = (0.50, 0.67);

/// The least time between two such reads.
const LEAST_BEFORE_END: Duration = Duration::from_secs(10);

/// One request, and when it is made.
pub struct Job {
    pub instance: usize,
    pub secrets: Vec<usize>,
    /// How often it is made; `None` if its answer never changes.
    pub refresh: Option<Duration>,
    /// When it is made next, or its lease renewed.
    pub due: Option<Duration>,
    pub is_running: bool,
    /// Whether it is due again as soon as it has been answered.
    again: bool,
    /// The lifetime of its lease or certificate, if the store has issued one.
    lifetime: Option<Lifetime>,
    /// The number of the login that its lease was issued for, and ends with.
    login: u64,
    /// When its value ends, if the store returns the same value until then.
    end: Option<Duration>,
    /// When it was made last.
    made: Option<Duration>,
    /// Whether only a restart issues it anew: a change of it would end this process or the app.
    needs_restart: bool,
    /// How often in a row the store was late to change it.
    delays: u32,
    /// Whether a warning has said that its lease is not renewed any more.
    has_warned_of_refusal: bool,
    /// Whether a warning has said when it ends.
    has_warned_of_end: bool,
    /// By secret.
    troubles: BTreeMap<usize, Trouble>,
}

/// The result of a read or a renewal, for the privileged process.
pub struct Notice {
    /// The secret.
    pub secret: usize,
    /// Whether it was read, or its lease renewed.
    pub is_success: bool,
    /// Whether the secret is due to be issued anew, which only a restart does.
    pub needs_restart: bool,
    /// In how long the next read or renewal is due.
    pub next: Option<Duration>,
    /// In how long the secret ends.
    pub end: Option<Duration>,
}

/// The action of a job that is due.
pub enum Action {
    /// A read, which may issue something.
    Read,
    /// A renewal.
    Renewal,
    /// No request: only a restart issues the secret anew.
    Restart,
}

impl Job {
    pub fn new(plan: &Plan, instance: usize, secrets: &[usize]) -> Self {
        let restarts = |secret: &usize| plan.secrets[*secret].on_change == OnChange::Restart;
        let is_snapshot = |secret: &usize| plan.secrets[*secret].refresh.is_none();
        let needs_restart = match plan.purpose {
            Purpose::Watch => secrets.iter().any(restarts),
            // A running app gets no other value of these secrets.
            _ => secrets.iter().all(is_snapshot),
        };
        Self {
            instance,
            secrets: secrets.to_vec(),
            refresh: secrets.iter().filter_map(|secret| plan.secrets[*secret].refresh).min(),
            due: None,
            is_running: false,
            again: false,
            lifetime: None,
            login: 0,
            end: None,
            made: None,
            needs_restart,
            delays: 0,
            has_warned_of_refusal: false,
            has_warned_of_end: false,
            troubles: BTreeMap::new(),
        }
    }

    /// Takes the answer of the first round, which came `age` ago. The next read is due at `first`, or earlier if the value ends earlier.
    pub fn first_answered(&mut self, term: Term, age: Duration, first: Duration, now: Duration) {
        self.made = Some(now.saturating_sub(age));
        self.due = self.take_term(term, age, self.refresh.map(|_| first), now);
    }

    /// Warns that the app keeps a descriptor whose lease ends at some time, without another value.
    pub fn warn_of_end(&mut self, plan: &Plan, now: Duration) {
        if self.is_snapshot(plan) && self.lifetime.as_ref().is_some_and(|lifetime| lifetime.step() == Step::Renew) {
            let names = self.names(plan);
            tracing::warn!(target: "handfast", "what was issued for {names} ends once it can be renewed no more, and the app gets no other in its descriptor: `on_change = \"restart\"` starts it anew");
        }
        self.warn_of_end_once(plan, None, now);
    }

    /// Warns once when the value in the app's descriptor ends, if nothing renews it any more. `why` is the refused renewal.
    fn warn_of_end_once(&mut self, plan: &Plan, why: Option<&ProviderError>, now: Duration) {
        let names = self.names(plan);
        let (what, end) = match (&self.lifetime, self.end) {
            (Some(lifetime), _) if lifetime.step() == Step::Replace => {
                (format!("what was issued for {names}"), lifetime.end())
            }
            (None, Some(end)) => (names, end),
            _ => return,
        };
        if !self.is_snapshot(plan) || std::mem::replace(&mut self.has_warned_of_end, true) {
            return;
        }
        let left = whole_seconds(end.saturating_sub(now));
        let why = why.map(|error| format!(": {error}")).unwrap_or_default();
        tracing::warn!(target: "handfast", "{what} ends in {left}, and the app gets no other in its descriptor: `on_change = \"restart\"` starts it anew{why}");
    }

    /// Whether the app keeps the value in its descriptor, and gets no other.
    fn is_snapshot(&self, plan: &Plan) -> bool {
        let names_version = |secret: &usize| plan.secrets[*secret].reference.locator.parameter("version").is_some();
        plan.purpose == Purpose::Supervise && self.needs_restart && !self.secrets.iter().any(names_version)
    }

    fn names(&self, plan: &Plan) -> String {
        let names = self.secrets.iter().map(|secret| format!("`{}`", plan.secrets[*secret].name));
        names.collect::<Vec<_>>().join(", ")
    }

    /// Makes a read due now, unless the store issued the secret: a request of the user issues nothing anew.
    pub fn read_again(&mut self, now: Duration) {
        if self.refresh.is_some() && self.lifetime.is_none() {
            self.again = self.is_running;
            self.due = Some(now);
        }
    }

    /// The action that is due now, if any.
    pub fn due_action(&self, now: Duration) -> Option<Action> {
        if self.is_running || self.due.is_none_or(|due| due > now) {
            return None;
        }
        Some(match self.lifetime.as_ref().map(Lifetime::step) {
            Some(Step::Renew) => Action::Renewal,
            Some(Step::Replace) if self.needs_restart => Action::Restart,
            Some(Step::Replace) | None => Action::Read,
        })
    }

    /// The order in which due jobs get the requests of their store: those with an end first, then the job that was read longest ago. So
    /// every secret is late, and none is left out, where a store gets fewer requests than are due.
    pub fn precedence(&self) -> (bool, Option<Duration>) {
        (!self.has_end(), self.made)
    }

    /// Notes that this action has begun.
    pub fn mark_begun(&mut self, action: &Action, now: Duration) {
        (self.is_running, self.due) = (!matches!(action, Action::Restart), None);
        if matches!(action, Action::Read) {
            self.made = Some(now);
        }
    }

    /// Takes the answer: a term; or after a failure, how long to wait, `None` for the `usual` time.
    pub fn answered(&mut self, answer: Result<Term, Option<Duration>>, usual: Option<Duration>, now: Duration) {
        self.is_running = false;
        let again = std::mem::take(&mut self.again);
        self.due = match answer {
            Ok(term) => self.take_term(term, Duration::ZERO, if again { Some(now) } else { usual }, now),
            Err(asked) if self.lifetime.is_some() => {
                self.lifetime_failed(asked, now);
                self.due
            }
            Err(_) if again => Some(now),
            Err(asked) => asked.map(|asked| now + asked).or(usual),
        };
    }

    /// Takes the term of an answer. Returns when the request is due next: at the `usual` time, or before the value ends.
    fn take_term(&mut self, term: Term, age: Duration, usual: Option<Duration>, now: Duration) -> Option<Duration> {
        let random = fastrand::f64();
        self.delays = match term {
            Term::Rotates(Duration::ZERO) => self.delays.saturating_add(1),
            _ => 0,
        };
        self.lifetime = match term {
            Term::Leased { grant: Grant { life, renewable }, login } => {
                self.login = login;
                let lease = Lifetime::new(Kind::Lease, life, age, renewable, now, random);
                // After an outage, a restart would get no other lease either.
                let is_last = self.refresh.is_none() || self.needs_restart;
                Some(if is_last { lease.never_replaced() } else { lease })
            }
            Term::Ends(life) => Some(Lifetime::new(Kind::Certificate, life, age, false, now, random)),
            Term::Open | Term::Until(_) | Term::Rotates(_) => None,
        };
        self.end = match term {
            // More than a year makes no sense, and could not be added to another time.
            Term::Until(left) if left <= LONGEST => Some((now + left).saturating_sub(age)),
            _ => None,
        };
        match term {
            Term::Until(left) if !left.is_zero() => usual.map(|usual| usual.min(now + before_end(left, random))),
            Term::Open | Term::Until(_) => usual,
            Term::Rotates(Duration::ZERO) => {
                usual.map(|usual| usual.min(now + trouble::pause(self.delays).max(AFTER_ROTATION)))
            }
            Term::Rotates(after) => {
                usual.map(|usual| usual.min((now + after.min(LONGEST)).saturating_sub(age) + AFTER_ROTATION))
            }
            Term::Ends(_) | Term::Leased { .. } => self.lifetime_due(),
        }
    }

    /// Takes the result of its lease's renewal.
    pub fn renewed(&mut self, plan: &Plan, renewed: Result<Grant, Failure>, now: Duration) {
        self.is_running = false;
        let secrets = self.secrets.clone();
        let Some(lifetime) = &mut self.lifetime else { return };
        match renewed {
            Ok(grant) => {
                lifetime.renewed(grant, now, fastrand::f64());
                secrets.iter().for_each(|secret| self.log_recovery(plan, *secret, "renewed", now));
                self.warn_of_end_once(plan, None, now);
            }
            Err(Failure { error, .. }) if trouble::is_refusal(&error) => {
                match error.kind {
                    ErrorKind::NotFound => lifetime.lost(now),
                    _ => lifetime.renewal_refused(now, fastrand::f64()),
                }
                self.warn_of_end_once(plan, Some(&error), now);
                let secret = &plan.secrets[secrets[0]];
                let (name, reference) = (&secret.name, &secret.reference);
                if self.refresh.is_some() && !std::mem::replace(&mut self.has_warned_of_refusal, true) {
                    tracing::warn!(target: "handfast", "the lease of `{name}` from `{reference}` is not renewed but issued anew: {error}");
                }
            }
            Err(failure) => {
                lifetime.failed(trouble::asked(&failure.error), now);
                for secret in secrets {
                    let Secret { name, reference, .. } = &plan.secrets[secret];
                    let what = format!("cannot renew the lease of `{name}` from `{reference}`");
                    self.log_failure(secret, &what, &failure, now);
                }
            }
        }
        self.due = self.lifetime_due();
    }

    /// The number of the login that its lease was issued for, if it has a lease.
    pub fn login(&self) -> Option<u64> {
        let is_lease = self.lifetime.as_ref().is_some_and(|lifetime| lifetime.kind() == Kind::Lease);
        is_lease.then_some(self.login)
    }

    /// Whether the store has issued it for a time.
    pub fn has_end(&self) -> bool {
        self.lifetime.is_some()
    }

    /// Lets its lease end with its login, at `end`; `None` if the login does not end. Returns whether that changes the end of the lease.
    pub fn set_login_end(&mut self, end: Option<Duration>) -> bool {
        let before = self.end();
        if let Some(lifetime) = &mut self.lifetime {
            lifetime.set_login_end(end);
        }
        before != self.end()
    }

    /// Lets its lease end with its login, at `end`, and issues it anew at `due` at the latest.
    pub fn replace_by(&mut self, plan: &Plan, end: Duration, due: Duration, now: Duration) {
        if let Some(lifetime) = &mut self.lifetime {
            lifetime.replace_by(end, due);
        }
        self.warn_of_end_once(plan, None, now);
        if !self.is_running {
            self.due = self.lifetime_due();
        }
    }

    /// Makes a request that has failed due now, because a new login may help.
    pub fn retry_now(&mut self, now: Duration) {
        if !self.is_running && !self.troubles.is_empty() {
            self.due = self.lifetime_due().or(Some(now));
        }
    }

    fn lifetime_failed(&mut self, asked: Option<Duration>, now: Duration) {
        if let Some(lifetime) = &mut self.lifetime {
            lifetime.failed(asked, now);
        }
        self.due = self.lifetime_due();
    }

    /// When its lease is renewed or it is issued anew. Two issuances are never too close to each other.
    fn lifetime_due(&self) -> Option<Duration> {
        let lifetime = self.lifetime.as_ref()?;
        // The app would not get the new value.
        if self.refresh.is_none() && lifetime.step() == Step::Replace {
            return None;
        }
        let earliest = match (lifetime.step(), self.made) {
            (Step::Replace, Some(made)) => made + lifetime.between_issuances(),
            _ => Duration::ZERO,
        };
        Some(lifetime.due().max(earliest))
    }

    /// Logs that a secret could not be read. Returns how long to wait, `None` for the usual time.
    pub fn read_failed(&mut self, plan: &Plan, secret: usize, failure: &Failure, now: Duration) -> Option<Duration> {
        let Secret { name, reference, .. } = &plan.secrets[secret];
        self.log_failure(secret, &format!("cannot read `{name}` again from `{reference}`"), failure, now)
    }

    fn log_failure(&mut self, secret: usize, what: &str, failure: &Failure, now: Duration) -> Option<Duration> {
        let trouble = self.troubles.entry(secret).or_insert_with(|| Trouble::new(now));
        let Verdict { pause, severity } = trouble.add(&failure.error, fastrand::f64());
        trouble.log(severity, what, "the last value stays", &failure.error, now);
        pause
    }

    /// Logs that a secret was read, or its lease renewed (`verb`), if that had failed before.
    pub fn log_recovery(&mut self, plan: &Plan, secret: usize, verb: &str, now: Duration) {
        if let Some(trouble) = self.troubles.remove(&secret) {
            let lasted = trouble.lasted(now);
            tracing::info!(target: "handfast", "`{}` can be {verb} again, after {lasted}", plan.secrets[secret].name);
        }
    }

    /// When the value that was read last ends.
    pub fn end(&self) -> Option<Duration> {
        self.lifetime.as_ref().map(Lifetime::end).or(self.end)
    }

    /// A notice for the privileged process of each of its secrets.
    pub fn notices(&self, now: Duration, is_success: impl Fn(usize) -> bool) -> impl Iterator<Item = Notice> {
        let next = self.due.map(|due| due.saturating_sub(now));
        let end = self.end().map(|end| end.saturating_sub(now));
        let notice =
            move |&secret: &usize| Notice { secret, is_success: is_success(secret), needs_restart: false, next, end };
        self.secrets.iter().map(notice)
    }
}

/// In how long a secret that ends after `left` is read again at the latest. `random` is between 0 and 1.
fn before_end(left: Duration, random: f64) -> Duration {
    left.min(LONGEST).mul_f64(lifetime::between(BEFORE_END, random)).max(LEAST_BEFORE_END)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_is_read_between_half_and_two_thirds_of_what_is_left_and_not_more_often_near_its_end() {
        for (left, random, expected) in [(100, 0.0, 50), (100, 1.0, 67), (30, 0.0, 15), (15, 0.0, 10), (1, 1.0, 10)] {
            assert_eq!(before_end(Duration::from_secs(left), random).as_secs(), expected, "{left} {random}");
        }
        assert!(before_end(Duration::MAX, 1.0) < LONGEST);
    }
}
