//! Decides when each secret is read again, and when its changes are delivered. Sends no request and reads no clock: the caller passes the
//! time.
#![forbid(unsafe_code)]

mod job;
mod known;
mod lifetime;
mod login;
mod pace;
mod trouble;

use std::collections::BTreeMap;
use std::time::Duration;

use handfast_core::{ErrorKind, Grant, ProviderError, Standing, Term, Upkeep};

use super::outcome::{Change, Failure, Outcome};
use crate::plan::Plan;
use job::{Action, Job};
use known::{Known, Values};
use lifetime::REPLACEMENT_GRACE;
use login::{Login, Succession};
use pace::Pace;

pub use job::Notice;
pub use known::{Digests, EarlierValues};

/// How long changes wait for further changes at most, as a multiple of `quiet`.
const MOST_QUIETS: u32 = 5;

/// The times of all reads. Every time is since the machine's start.
pub struct Schedule<'p> {
    plan: &'p Plan,
    digests: Digests,
    jobs: Vec<Job>,
    /// By secret.
    known: Vec<Known>,
    /// By provider instance; `None` for an instance without a network store, whose requests are not limited.
    paces: Vec<Option<Pace>>,
    /// By provider instance; `None` for an instance without a login.
    logins: Vec<Option<Login>>,
    /// The first and the last change that waits to be delivered.
    window: Option<(Duration, Duration)>,
    /// When the next delivery is tried, after one has failed.
    retry_delivery_at: Option<Duration>,
    /// How many deliveries have failed in a row.
    failed_deliveries: u32,
    /// The values that are being delivered, by secret.
    in_delivery: BTreeMap<usize, Values>,
}

/// Work that is due.
pub enum Due {
    /// These requests of a provider instance are made.
    Read(usize, Vec<usize>),
    /// The lease of a request is renewed.
    Renew(usize),
    /// The login of a provider instance is inspected, renewed or replaced.
    Upkeep(usize, Upkeep),
}

/// The parts of `refresh` between which a request is made again.
const USUAL: [f64; 2] = [0.90, 1.10];

/// The same for the first of several requests that were made together: those that are answered a little later can still join it.
const ALONE: (f64, f64) = (0.92, 1.08);

/// The part of an earlier login's remaining time within which its leases are issued anew for the new login.
const FOLLOWING: f64 = 0.8;

impl<'p> Schedule<'p> {
    /// The schedule after the first set was delivered. The first reads are due at a random part of `refresh`. The part is the same for
    /// all, so that secrets that were changed together are read and delivered together.
    /// `jobs` are the provider instance and the secrets of each request, `is_paced` says by instance whether it is a store, which is
    /// asked at a steady pace.
    pub fn new<'j>(
        plan: &'p Plan,
        jobs: impl Iterator<Item = (usize, &'j [usize])>,
        is_paced: impl Iterator<Item = bool>,
        outcomes: &[Outcome],
        now: Duration,
    ) -> Self {
        let mut schedule = Self::with_earlier(plan, jobs, is_paced, EarlierValues::default(), now);
        for Outcome { secret, result, .. } in outcomes {
            schedule.known[*secret] = Known::first(&schedule.digests, result.as_deref().unwrap_or_default());
        }
        let part = fastrand::f64();
        for job in &mut schedule.jobs {
            let outcome = outcomes.iter().find(|outcome| job.secrets.contains(&outcome.secret));
            let (term, age) = outcome.map(|outcome| (outcome.term, outcome.age)).unwrap_or_default();
            let first = now + job.refresh.unwrap_or_default().mul_f64(part);
            job.first_answered(term, age, first, now);
            job.warn_of_end(plan, now);
        }
        schedule
    }

    /// The schedule after a first round that has failed, where the set of an earlier keeper stays.
    pub fn with_earlier<'j>(
        plan: &'p Plan,
        jobs: impl Iterator<Item = (usize, &'j [usize])>,
        is_paced: impl Iterator<Item = bool>,
        EarlierValues { digests, values, .. }: EarlierValues,
        now: Duration,
    ) -> Self {
        let mut known: Vec<Known> = values.into_iter().map(Known::delivered_before).collect();
        known.resize_with(plan.secrets.len(), Known::default);
        let is_paced: Vec<bool> = is_paced.collect();
        let login = |(instance, is_paced): (usize, &bool)| {
            let secret = plan.secrets.iter().find(|secret| secret.instance == instance)?;
            is_paced.then(|| Login::new(&secret.reference.provider, now))
        };
        Self {
            plan,
            digests,
            jobs: jobs.map(|(instance, secrets)| Job::new(plan, instance, secrets)).collect(),
            known,
            logins: is_paced.iter().enumerate().map(login).collect(),
            paces: is_paced.iter().map(|is_paced| is_paced.then(|| Pace::new(plan.concurrency, now))).collect(),
            window: None,
            retry_delivery_at: None,
            failed_deliveries: 0,
            in_delivery: BTreeMap::new(),
        }
    }

    /// Whether there is a lease, which must be renewed, and whose login must be renewed too.
    pub fn has_lease(&self) -> bool {
        self.jobs.iter().any(|job| job.login().is_some())
    }

    /// When something is due next: a request, or a delivery.
    pub fn next_due(&self) -> Option<Duration> {
        let reads = self.jobs.iter().filter(|job| !job.is_running).filter_map(|job| job.due);
        let logins = self.logins.iter().flatten().filter_map(Login::due);
        reads.chain(logins).chain(self.delivery()).min()
    }

    /// When the changes that wait are delivered.
    fn delivery(&self) -> Option<Duration> {
        let (first, last) = self.window?;
        let quiet = self.plan.watching.quiet;
        let delivery = (last + quiet).min(first + quiet * MOST_QUIETS);
        Some(self.retry_delivery_at.map_or(delivery, |held| held.max(delivery)))
    }

    /// Returns a notice of each secret, with the time of its next read or renewal. `undelivered` are the outcomes of the first round if the
    /// set of an earlier keeper stays: they count as those of a refresh.
    pub fn begin(&mut self, undelivered: Vec<Outcome>, now: Duration) -> Vec<Notice> {
        if undelivered.is_empty() {
            return self.jobs.iter().flat_map(|job| job.notices(now, |_| true)).collect();
        }
        let mut by_job: Vec<Vec<Outcome>> = self.jobs.iter().map(|_| Vec::new()).collect();
        for outcome in undelivered {
            if let Some(at) = self.jobs.iter().position(|job| job.secrets.contains(&outcome.secret)) {
                by_job[at].push(outcome);
            }
        }
        let taken = by_job.into_iter().enumerate().flat_map(|(at, outcomes)| {
            self.jobs[at].mark_begun(&Action::Read, now);
            self.read_done(at, outcomes, now)
        });
        taken.collect()
    }

    /// Makes every read due now that issues nothing anew.
    pub fn read_all(&mut self, now: Duration) {
        self.jobs.iter_mut().for_each(|job| job.read_again(now));
    }

    /// Makes these requests due now, because the files that they read have changed.
    pub fn read_now(&mut self, jobs: impl Iterator<Item = usize>, now: Duration) {
        jobs.for_each(|at| self.jobs[at].read_again(now));
    }

    /// Counts the requests that each provider instance has sent so far: the read of a list takes several.
    pub fn count_requests(&mut self, requests: impl Iterator<Item = u64>, now: Duration) {
        for (instance, requests) in requests.enumerate() {
            let Some(pace) = &mut self.paces[instance] else { continue };
            let jobs = self.jobs.iter().filter(|job| job.instance == instance && job.is_running).count();
            let login = self.logins[instance].as_ref();
            let of_login = login.filter(|login| login.is_running()).map_or(0, |_| login::REQUESTS);
            pace.count_requests(requests, jobs * requests_of_job(login) + of_login, now);
        }
    }

    /// Returns the due work and marks it as begun; and notices of the secrets that need a restart.
    pub fn take_due(&mut self, now: Duration) -> (Vec<Due>, Vec<Notice>) {
        let (mut due, mut notices) = (Vec::new(), Vec::new());
        // Logins first: a read that follows waits for the new login.
        for (instance, login) in self.logins.iter_mut().enumerate() {
            let Some(login) = login.as_mut().filter(|login| login.due().is_some_and(|due| due <= now)) else {
                continue;
            };
            match self.paces[instance].as_mut().map_or(Ok(()), |pace| pace.take(login::REQUESTS, true, now)) {
                Ok(()) => due.push(Due::Upkeep(instance, login.take_due(now))),
                Err(later) => login.postpone(later),
            }
        }
        let mut reads: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut order: Vec<usize> = (0..self.jobs.len()).collect();
        order.sort_by_key(|at| self.jobs[*at].precedence());
        for at in order {
            let job = &mut self.jobs[at];
            let Some(action) = job.due_action(now) else { continue };
            if let Action::Restart = action {
                job.mark_begun(&action, now);
                notices.extend(job.notices(now, |_| false).map(|notice| Notice { needs_restart: true, ..notice }));
                continue;
            }
            let requests = requests_of_job(self.logins[job.instance].as_ref());
            match self.paces[job.instance].as_mut().map_or(Ok(()), |pace| pace.take(requests, job.has_end(), now)) {
                Ok(()) if matches!(action, Action::Renewal) => due.push(Due::Renew(at)),
                Ok(()) => reads.entry(job.instance).or_default().push(at),
                Err(later) => {
                    job.due = Some(later);
                    continue;
                }
            }
            job.mark_begun(&action, now);
        }
        due.extend(reads.into_iter().map(|(instance, jobs)| Due::Read(instance, jobs)));
        (due, self.adjust_undelivered(notices, now))
    }

    /// Takes the outcomes of a request.
    pub fn read_done(&mut self, at: usize, outcomes: Vec<Outcome>, now: Duration) -> Vec<Notice> {
        let (mut pause, mut term) = (None, None);
        let (mut failed, mut is_denied) = (Vec::new(), false);
        let end = self.jobs[at].end();
        for Outcome { secret, result, term: own, .. } in outcomes {
            let issued = (own != Term::Open).then_some(own);
            let parts = match result {
                Ok(parts) => parts,
                Err(failure) if failure.is_absence(&self.plan.secrets[secret]) => Vec::new(),
                Err(failure) => {
                    is_denied |= failure.error.kind == ErrorKind::Denied;
                    pause = pause.max(self.jobs[at].read_failed(self.plan, secret, &failure, now));
                    failed.push(secret);
                    // An answer that cannot be used was issued all the same.
                    term = term.or(issued);
                    continue;
                }
            };
            term = issued.or(term).or(Some(Term::Open));
            self.jobs[at].log_recovery(self.plan, secret, "read", now);
            self.known[secret].set_end(end);
            if self.known[secret].compare(&self.digests, parts) {
                let (first, _) = self.window.unwrap_or((now, now));
                self.window = Some((first, now));
            }
        }
        if !self.known.iter().any(Known::is_pending) {
            self.window = None;
        }
        self.inspect_login(self.jobs[at].instance, is_denied, now);
        let usual = self.usual_due(at, now);
        self.jobs[at].answered(term.ok_or(pause), usual, now);
        self.bind_to_login(at);
        let notices = self.jobs[at].notices(now, |secret| !failed.contains(&secret)).collect();
        self.adjust_undelivered(notices, now)
    }

    /// Corrects the notices of secrets whose change could not be delivered: such a secret was not refreshed, and ends when the delivered
    /// value does.
    fn adjust_undelivered(&self, mut notices: Vec<Notice>, now: Duration) -> Vec<Notice> {
        for notice in &mut notices {
            if let Some(end) = self.known[notice.secret].undelivered() {
                (notice.is_success, notice.end) = (false, end.map(|end| end.saturating_sub(now)));
            }
        }
        notices
    }

    /// When a request that is answered now is made again: together with another request that is due at about that time, if any.
    fn usual_due(&self, at: usize, now: Duration) -> Option<Duration> {
        let refresh = self.jobs[at].refresh?;
        let [earliest, latest] = USUAL.map(|part| now + refresh.mul_f64(part));
        let others = self.jobs.iter().filter_map(|job| job.due).filter(|due| (earliest..=latest).contains(due));
        Some(others.min().unwrap_or_else(|| now + refresh.mul_f64(lifetime::between(ALONE, fastrand::f64()))))
    }

    /// Lets a lease end with its login if that is not renewed any more. Returns whether its end has changed.
    fn bind_to_login(&mut self, at: usize) -> bool {
        let job = &mut self.jobs[at];
        let login = self.logins[job.instance].as_ref().and_then(Login::last_end);
        login.is_some_and(|(number, end)| job.login() == Some(number) && job.set_login_end(end))
    }

    /// Makes an inspection of the login due if the store has denied a request: the login may have ended, and its leases with it.
    fn inspect_login(&mut self, instance: usize, is_denied: bool, now: Duration) {
        if let Some(login) = self.logins[instance].as_mut().filter(|_| is_denied) {
            login.inspect_now(now);
        }
    }

    /// Takes the result of a lease's renewal.
    pub fn renewed(&mut self, at: usize, renewed: Result<Grant, Failure>, now: Duration) -> Vec<Notice> {
        let is_denied = renewed.as_ref().is_err_and(|failure| failure.error.kind == ErrorKind::Denied);
        self.inspect_login(self.jobs[at].instance, is_denied, now);
        let is_success = renewed.is_ok();
        self.jobs[at].renewed(self.plan, renewed, now);
        self.bind_to_login(at);
        let notices = self.jobs[at].notices(now, |_| is_success).collect();
        self.adjust_undelivered(notices, now)
    }

    /// Takes the result of a login's upkeep. Leases of an earlier login are issued anew one by one before that login ends.
    pub fn upkeep_done(
        &mut self,
        instance: usize,
        result: Result<Option<Standing>, ProviderError>,
        now: Duration,
    ) -> Vec<Notice> {
        let succession = self.logins[instance].as_mut().and_then(|login| login.upkeep_done(result, now));
        let mut notices = Vec::new();
        if let Some(Succession { number, end, is_over }) = succession {
            let own = self.jobs.iter_mut().filter(|job| job.instance == instance);
            let (mut following, others): (Vec<_>, Vec<_>) =
                own.partition(|job| job.login().is_some_and(|login| login < number));
            let (left, count) = (end.saturating_sub(now).mul_f64(FOLLOWING), following.len().max(1) as f64);
            for (at, job) in following.iter_mut().enumerate() {
                let due = now + left.mul_f64((at as f64 + fastrand::f64()) / count);
                job.replace_by(self.plan, end.max(now + REPLACEMENT_GRACE), due, now);
            }
            others.into_iter().filter(|_| is_over).for_each(|job| job.retry_now(now));
            notices.extend(following.into_iter().flat_map(|job| job.notices(now, |_| false).collect::<Vec<_>>()));
        }
        for at in 0..self.jobs.len() {
            if self.jobs[at].instance == instance && self.bind_to_login(at) {
                notices.extend(self.jobs[at].notices(now, |_| false));
            }
        }
        self.adjust_undelivered(notices, now)
    }

    /// All changes, if they are to be delivered now; otherwise none.
    pub fn take_changes(&mut self, now: Duration) -> Vec<(usize, Change)> {
        if self.delivery().is_none_or(|delivery| delivery > now) {
            return Vec::new();
        }
        self.window = None;
        let mut changes = Vec::new();
        for (secret, known) in self.known.iter_mut().enumerate() {
            if let Some((values, change)) = known.take_pending() {
                self.in_delivery.insert(secret, values);
                changes.push((secret, change));
            }
        }
        changes
    }

    /// Notes whether these changes were delivered. Undelivered changes are kept, and returned again later by
    /// [`take_changes`](Self::take_changes). Returns notices of the secrets whose state changes by this.
    pub fn delivered(&mut self, is_delivered: bool, changes: Vec<(usize, Change)>, now: Duration) -> Vec<Notice> {
        let mut given = std::mem::take(&mut self.in_delivery);
        self.failed_deliveries = if is_delivered { 0 } else { self.failed_deliveries.saturating_add(1) };
        self.retry_delivery_at = (!is_delivered).then(|| now + trouble::pause(self.failed_deliveries));
        let mut turned = Vec::new();
        for (secret, change) in changes {
            let Some(values) = given.remove(&secret) else { continue };
            if !is_delivered || self.known[secret].undelivered().is_some() {
                turned.push(secret);
            }
            if is_delivered {
                self.known[secret].delivered(values);
            } else {
                self.known[secret].put_back(values, change);
                self.window = Some((now, now));
            }
        }
        let notices = self.jobs.iter().flat_map(|job| job.notices(now, |_| is_delivered));
        let notices = notices.filter(|notice| turned.contains(&notice.secret)).collect();
        self.adjust_undelivered(notices, now)
    }
}

/// How many requests a read or a renewal comes to, at most, but for lists: it logs in where its login cannot be kept up.
fn requests_of_job(login: Option<&Login>) -> usize {
    if login.is_some_and(Login::is_troubled) { 2 } else { 1 }
}

#[cfg(test)]
mod tests;
