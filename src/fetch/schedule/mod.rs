//! When each secret is read again, and what of it is to be delivered when. Decides by the time that it is given, and asks nobody.
#![forbid(unsafe_code)]

mod known;
mod pace;
mod trouble;

use std::collections::BTreeMap;
use std::time::Duration;

use super::outcome::{Change, Failure, Outcome};
use crate::plan::Plan;
use known::{Digests, Known, Values};
use pace::Pace;
use trouble::{Trouble, Voice};

/// The longest that changes are held back for others, as a multiple of `quiet`.
const MOST_QUIETS: u32 = 5;

/// The times of all reads. Every time is since the machine's start.
pub struct Schedule<'p> {
    plan: &'p Plan,
    digests: Digests,
    jobs: Vec<Job>,
    /// By secret.
    known: Vec<Known>,
    /// By provider instance; `None` where nobody minds how often it is asked.
    paces: Vec<Option<Pace>>,
    /// The first and the last change that waits to be delivered.
    window: Option<(Duration, Duration)>,
    /// Whether the first round was delivered.
    has_begun: bool,
    /// What was given away to be delivered.
    on_its_way: BTreeMap<usize, Values>,
}

/// One request, and when it is made.
struct Job {
    instance: usize,
    secrets: Vec<usize>,
    /// `None` where it never changes.
    refresh: Option<Duration>,
    due: Option<Duration>,
    is_running: bool,
    /// Whether it is to be made once more as soon as it has been answered.
    again: bool,
    /// By secret.
    troubles: BTreeMap<usize, Trouble>,
    /// How often in a row what it has brought was not delivered.
    rejections: u32,
}

/// What became of a read, for the privileged process.
pub struct News {
    /// The secret.
    pub secret: usize,
    /// Whether it was read.
    pub is_success: bool,
    /// In how long it is read again.
    pub next: Option<Duration>,
}

impl<'p> Schedule<'p> {
    /// After the first round: each first read is at a random part of its time, or soon where nothing was delivered.
    /// `jobs` are the provider instance and the secrets of each request, `is_paced` says by instance whether it is a store, which is
    /// asked at a steady pace.
    pub fn new<'j>(
        plan: &'p Plan,
        jobs: impl Iterator<Item = (usize, &'j [usize])>,
        is_paced: impl Iterator<Item = bool>,
        outcomes: &[Outcome],
        now: Duration,
    ) -> Self {
        let digests = Digests::default();
        let mut known: Vec<Known> = plan.secrets.iter().map(|_| Known::default()).collect();
        for Outcome { secret, result, .. } in outcomes {
            known[*secret] = Known::first(&digests, result.as_deref().unwrap_or_default());
        }
        let job = |(instance, secrets): (usize, &[usize])| {
            let refresh = secrets.iter().filter_map(|secret| plan.secrets[*secret].refresh).min();
            let span = if outcomes.is_empty() { trouble::BASE } else { refresh.unwrap_or_default() };
            let due = refresh.map(|_| now + span.mul_f64(fastrand::f64()));
            let secrets = secrets.to_vec();
            Job {
                instance,
                secrets,
                refresh,
                due,
                is_running: false,
                again: false,
                troubles: BTreeMap::new(),
                rejections: 0,
            }
        };
        let jobs = jobs.map(job).collect();
        let paces = is_paced.map(|is_paced| is_paced.then(|| Pace::new(plan.concurrency, now))).collect();
        Self {
            plan,
            digests,
            jobs,
            known,
            paces,
            window: None,
            has_begun: !outcomes.is_empty(),
            on_its_way: BTreeMap::new(),
        }
    }

    /// When something is due: a read, or a delivery.
    pub fn next(&self) -> Option<Duration> {
        let reads = self.jobs.iter().filter(|job| !job.is_running).filter_map(|job| job.due);
        reads.chain(self.delivery()).min()
    }

    /// When the changes that wait are delivered.
    fn delivery(&self) -> Option<Duration> {
        let (first, last) = self.window?;
        let quiet = self.plan.watching.quiet;
        Some((last + quiet).min(first + quiet * MOST_QUIETS))
    }

    /// When a secret is read again, for all of them.
    pub fn all(&self, now: Duration) -> Vec<News> {
        self.jobs.iter().flat_map(|job| job.news(now, |_| self.has_begun)).collect()
    }

    /// Everything is due now.
    pub fn read_all(&mut self, now: Duration) {
        for job in self.jobs.iter_mut().filter(|job| job.refresh.is_some()) {
            job.again = job.is_running;
            job.due = Some(now);
        }
    }

    /// These requests are due now: what they read has changed.
    pub fn read_now(&mut self, jobs: impl Iterator<Item = usize>, now: Duration) {
        for at in jobs {
            let job = &mut self.jobs[at];
            job.again = job.is_running;
            job.due = Some(now);
        }
    }

    /// The requests that are due, by provider instance; they count as made.
    pub fn begin(&mut self, now: Duration) -> BTreeMap<usize, Vec<usize>> {
        let mut begun: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let is_due = |job: &Job| !job.is_running && job.due.is_some_and(|due| due <= now);
        for (at, job) in self.jobs.iter_mut().enumerate().filter(|(_, job)| is_due(job)) {
            match self.paces[job.instance].as_mut().map_or(Ok(()), |pace| pace.take(now)) {
                Ok(()) => {
                    (job.is_running, job.due) = (true, None);
                    begun.entry(job.instance).or_default().push(at);
                }
                Err(later) => job.due = Some(later),
            }
        }
        begun
    }

    /// Takes what a request has brought.
    pub fn take(&mut self, at: usize, outcomes: Vec<Outcome>, now: Duration) -> Vec<News> {
        let mut pause = None;
        let mut failed = Vec::new();
        for Outcome { secret, result, .. } in outcomes {
            let parts = match result {
                Ok(parts) => parts,
                Err(failure) if failure.is_absence(&self.plan.secrets[secret]) => Vec::new(),
                Err(failure) => {
                    let asked = self.jobs[at].fail(self.plan, secret, &failure, now);
                    pause = pause.max(asked);
                    failed.push(secret);
                    continue;
                }
            };
            self.jobs[at].recover(self.plan, secret, now);
            if self.known[secret].take(&self.digests, parts) {
                let (first, _) = self.window.unwrap_or((now, now));
                self.window = Some((first, now));
            }
        }
        if !self.known.iter().any(Known::is_pending) {
            self.window = None;
        }
        let job = &mut self.jobs[at];
        let usual = job.refresh.map(|refresh| refresh.mul_f64(0.9 + 0.2 * fastrand::f64()));
        let next = if job.again { Some(Duration::ZERO) } else { pause.or(usual) };
        (job.is_running, job.again, job.due) = (false, false, next.map(|next| now + next));
        job.news(now, |secret| !failed.contains(&secret)).collect()
    }

    /// The changes that are to be delivered now, all of them; none where there is still time.
    pub fn give(&mut self, now: Duration) -> Vec<(usize, Change)> {
        if self.delivery().is_none_or(|delivery| delivery > now) {
            return Vec::new();
        }
        self.window = None;
        let mut changes = Vec::new();
        for (secret, known) in self.known.iter_mut().enumerate() {
            if let Some((values, change)) = known.give() {
                self.on_its_way.insert(secret, values);
                changes.push((secret, change));
            }
        }
        changes
    }

    /// What was given away was delivered, or was not: then it is read again, since nothing of it is kept.
    pub fn delivered(&mut self, is_kept: bool, now: Duration) {
        let given = std::mem::take(&mut self.on_its_way);
        for job in self.jobs.iter_mut().filter(|job| job.secrets.iter().any(|secret| given.contains_key(secret))) {
            job.rejections = if is_kept { 0 } else { job.rejections + 1 };
            if !is_kept {
                job.due = Some(now + trouble::pause(job.rejections));
            }
        }
        for (secret, values) in given.into_iter().filter(|_| is_kept) {
            self.known[secret].delivered(values);
        }
    }
}

impl Job {
    /// One more failure of a secret. How long to wait, where that is not the usual time.
    fn fail(&mut self, plan: &Plan, secret: usize, failure: &Failure, now: Duration) -> Option<Duration> {
        let trouble = self.troubles.entry(secret).or_insert_with(|| Trouble::new(now));
        let verdict = trouble.add(failure, fastrand::f64());
        let planned = &plan.secrets[secret];
        let (name, reference, error) = (&planned.name, &planned.reference, &failure.error);
        match verdict.voice {
            Voice::Silent => handfast_core::debug!("cannot read `{name}` again from `{reference}`: {error}"),
            Voice::Warning if trouble.failures() == 1 => {
                tracing::warn!(target: "handfast", "cannot read `{name}` again from `{reference}`, the last value stays: {error}");
            }
            Voice::Warning => {
                let (failures, lasted) = (trouble.failures(), whole_seconds(trouble.lasted(now)));
                tracing::warn!(target: "handfast", "cannot read `{name}` again from `{reference}`, {failures} times in {lasted}: {error}");
            }
            Voice::Error => {
                tracing::error!(target: "handfast", "cannot read `{name}` again from `{reference}`, the last value stays: {error}");
            }
        }
        verdict.pause
    }

    fn recover(&mut self, plan: &Plan, secret: usize, now: Duration) {
        if let Some(trouble) = self.troubles.remove(&secret) {
            let lasted = whole_seconds(trouble.lasted(now));
            tracing::info!(target: "handfast", "`{}` can be read again, after {lasted}", plan.secrets[secret].name);
        }
    }

    fn news(&self, now: Duration, is_success: impl Fn(usize) -> bool) -> impl Iterator<Item = News> {
        let next = self.due.map(|due| due.saturating_sub(now));
        self.secrets.iter().map(move |&secret| News { secret, is_success: is_success(secret), next })
    }
}

fn whole_seconds(duration: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(duration.as_secs()))
}
