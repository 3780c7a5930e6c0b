//! Fetches the secrets. Runs in the worker only: nothing here has a privilege to lose.
//!
//! [`Fetch::connect`] makes the clients, [`Fetch::round`] fetches every secret, [`Fetch::finish`] closes the connections and revokes
//! credentials. A round sends one request for each distinct locator, or for a batch of locators, bounded per provider instance. It
//! retries temporary failures, all within one deadline.
#![forbid(unsafe_code)]

mod context;
mod outcome;
mod pending;
mod refresh;
mod retry;
mod round;
mod schedule;
mod select;
mod store;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use handfast_core::{Context, Ending, Locator, ProviderError, Term};
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};

use crate::config::Environment;
use crate::plan::{Instance, Instances, Plan};
pub use outcome::{Change, Done, Failure, Outcome, Part, Piece};
pub use pending::Raw;
use retry::Cutoff;
use round::Round;
pub use schedule::{Digests, Due, EarlierValues, Notice, Schedule};
use store::Store;

/// How long requests in flight may still take after a failure that ends the round.
const GRACE: Duration = Duration::from_secs(2);

/// How long a round may take where the set of an earlier keeper can stay: until it stays, its app is out of service.
const ONE_TRY: Duration = Duration::from_secs(3);

/// How long the providers may take to revoke issued credentials after the deadline.
const OVERTIME: Duration = Duration::from_millis(500);

/// How long the providers may take to finish: their own limit of 2 s, and the time to log that it is over.
const LETTING_GO: Duration = Duration::from_millis(2200);

/// The effect of a failure on the other requests of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// Requests in flight get a short grace, and nothing is tried again.
    CutShort,
    /// The same, already after the first temporary failure, or after [`ONE_TRY`]: the set of an earlier keeper can stay.
    GiveUp,
    /// Each secret is fetched, whatever the others do.
    GoOn,
}

/// The runtime that every fetch needs, on the worker's one thread.
pub struct Runtime(tokio::runtime::Runtime);

impl Runtime {
    /// A runtime for requests to these instances. It can wait for descriptors if an instance has a network store, or the worker lives on.
    pub fn new(instances: &Instances, lives_on: bool) -> std::io::Result<Self> {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        if instances.sockets().any() || lives_on {
            runtime.enable_io();
        }
        runtime.enable_time().build().map(Self)
    }

    /// Runs a future, and the tasks that it starts.
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        LocalSet::new().block_on(&self.0, future)
    }
}

/// The stores of a plan.
pub struct Fetch<'p> {
    plan: &'p Plan,
    jobs: Vec<Job<'p>>,
    /// By index of the instance. An error is the failure of each of its secrets, in each round.
    stores: Vec<Result<Rc<Store>, ProviderError>>,
    /// By index of the instance: whether it is a store, which is asked at a steady pace.
    is_paced: Vec<bool>,
    /// The local files that are read, each with the number of its request.
    files: Vec<(usize, PathBuf)>,
}

/// A request of a round. Its answer may contain several secrets.
struct Job<'p> {
    instance: usize,
    locator: &'p Locator,
    secrets: Vec<usize>,
    is_list: bool,
}

impl<'p> Fetch<'p> {
    /// Makes the clients, without a request to a store.
    pub fn connect(plan: &'p Plan, instances: Instances, environment: Environment) -> Self {
        let jobs = jobs(plan);
        let context = context::context(environment);
        let is_paced = instances.iter().map(|instance| instance.configured.sockets().any()).collect();
        let file =
            |(at, job): (usize, &Job<'_>)| instances[job.instance].configured.file(job.locator).map(|path| (at, path));
        let files = jobs.iter().enumerate().filter_map(file).collect();
        let connect = |(index, instance): (usize, Instance)| {
            let max_retries = instance.configured.max_retries();
            let mut own = jobs.iter().filter(|job| job.instance == index);
            let several = own.next().is_some_and(|first| first.is_list) || own.next().is_some();
            let provider = instance.configured.connect(Context { several, ..context.clone() })?;
            Ok(Rc::new(Store::new(instance.name, provider, plan.concurrency, max_retries)))
        };
        let stores = instances.into_iter().enumerate().map(connect).collect();
        Self { plan, jobs, stores, is_paced, files }
    }

    /// Fetches every secret. An optional secret that is not found is a failure too, which the caller judges.
    pub async fn round(&self, on_failure: OnFailure) -> Vec<Outcome> {
        let (failed, fails) = watch::channel(None::<Instant>);
        let fail = || {
            if on_failure != OnFailure::GoOn {
                failed.send_if_modified(|at| at.is_none() && at.replace(Instant::now() + GRACE).is_none());
            }
        };
        let (once, deadline) = (on_failure == OnFailure::GiveUp, self.plan.deadline.at());
        let deadline = if once { deadline.min(Instant::now() + ONE_TRY) } else { deadline };
        let cutoff = Cutoff { deadline, failed: fails, once };
        let begin = |store: &Rc<Store>| Rc::new(Round::new(store.clone(), cutoff.clone()));
        let rounds: Vec<_> = self.stores.iter().map(|store| store.as_ref().map(begin)).collect();
        let mut batches = JoinSet::new();
        for (index, round) in rounds.iter().enumerate() {
            let locators: Vec<&Locator> = self.jobs_of(index).map(|job| job.locator).collect();
            if let Ok(round) = round {
                round.start_batches(&locators, &mut batches);
            }
        }
        let began = Instant::now();
        let mut outcomes = Vec::new();
        let mut running = JoinSet::new();
        for (at, job) in self.jobs.iter().enumerate() {
            match &rounds[job.instance] {
                Ok(round) => {
                    let (round, locator, is_list) = (round.clone(), job.locator.clone(), job.is_list);
                    running.spawn_local(async move { (at, round.answer(&locator, is_list).await) });
                }
                Err(error) => {
                    let failed = job.failures(error, 1);
                    outcomes.extend(failed.map(|(secret, failure)| Outcome {
                        secret,
                        result: Err(failure),
                        term: Term::Open,
                        age: Duration::ZERO,
                    }));
                    fail();
                }
            }
        }
        while let Some(joined) = running.join_next().await {
            // A task ends by returning: it is never aborted, and a panic ends the whole process.
            let Ok((at, answer)) = joined else { continue };
            let selected = select::all(&self.plan.secrets, &self.jobs[at].secrets, &answer);
            if selected.iter().any(|outcome| self.is_fatal(outcome)) {
                fail();
            }
            let came = began.elapsed();
            outcomes.extend(selected.into_iter().map(|outcome| Outcome { age: came, ..outcome }));
        }
        let took = began.elapsed();
        outcomes.iter_mut().for_each(|outcome| outcome.age = took.saturating_sub(outcome.age));
        outcomes
    }

    /// Asks an instance's store for the facts that its policy depends on, and renders the policy. `None` if the store has no policies.
    pub async fn policy(&self, instance: usize) -> Result<Option<String>, Vec<(usize, Failure)>> {
        let store = match &self.stores[instance] {
            Ok(store) => store,
            Err(error) => return Err(self.jobs_of(instance).flat_map(|job| job.failures(error, 1)).collect()),
        };
        let (_failed, fails) = watch::channel(None);
        let round = Rc::new(Round::new(
            store.clone(),
            Cutoff { deadline: self.plan.deadline.at(), failed: fails, once: false },
        ));
        let mut running = JoinSet::new();
        for (at, job) in self.jobs.iter().enumerate().filter(|(_, job)| job.instance == instance) {
            let (round, locator) = (round.clone(), job.locator.clone());
            running.spawn_local(async move { (at, round.survey(&locator).await) });
        }
        let mut failures = Vec::new();
        while let Some(joined) = running.join_next().await {
            if let Ok((at, Err(Failure { error, attempts }))) = joined {
                failures.extend(self.jobs[at].failures(&error, attempts));
            }
        }
        let locators: Vec<&Locator> = self.jobs_of(instance).map(|job| job.locator).collect();
        if failures.is_empty() { Ok(store.provider.policy(&locators)) } else { Err(failures) }
    }

    /// Finishes all providers concurrently, and logs how many requests each has sent. Credentials that were issued for a failed start are
    /// revoked.
    pub async fn finish(self, ending: Ending) {
        let now = Instant::now();
        let last = match ending {
            Ending::Over => now + LETTING_GO,
            Ending::Delivered => self.plan.deadline.at(),
            Ending::NotDelivered => self.plan.deadline.at() + OVERTIME,
        };
        let stores: Vec<Rc<Store>> = self.stores.into_iter().flatten().collect();
        let mut running = JoinSet::new();
        for store in &stores {
            let provider = store.provider.clone();
            running.spawn_local(async move { provider.finish(ending).await });
        }
        let all = async { while running.join_next().await.is_some() {} };
        if tokio::time::timeout_at((now + LETTING_GO).min(last.max(now)).into(), all).await.is_err() {
            match ending {
                Ending::Delivered => handfast_core::debug!("not every provider was let go in time"),
                Ending::NotDelivered | Ending::Over => tracing::warn!(
                    target: "handfast",
                    "not everything that was issued could be given back in time, and ends by itself"
                ),
            }
        }
        stores.iter().for_each(|store| store.log_summary(ending));
    }

    /// How the instances have logged in, for those that chose among several ways.
    pub fn identities(&self) -> Vec<(usize, String)> {
        let identity = |store: &Rc<Store>| store.provider.summary().identity;
        self.stores
            .iter()
            .enumerate()
            .filter_map(|(index, store)| Some((index, store.as_ref().ok().and_then(identity)?)))
            .collect()
    }

    /// Whether a failure ends the start.
    pub fn is_fatal(&self, outcome: &Outcome) -> bool {
        outcome.result.as_ref().is_err_and(|failure| !failure.is_absence(&self.plan.secrets[outcome.secret]))
    }

    fn jobs_of(&self, instance: usize) -> impl Iterator<Item = &Job<'p>> {
        self.jobs.iter().filter(move |job| job.instance == instance)
    }
}

impl Job<'_> {
    /// The same failure for each of its secrets.
    fn failures(&self, error: &ProviderError, attempts: u32) -> impl Iterator<Item = (usize, Failure)> {
        self.secrets.iter().map(move |&secret| (secret, Failure { error: error.once_more(), attempts }))
    }
}

fn jobs(plan: &Plan) -> Vec<Job<'_>> {
    let mut requests: BTreeMap<(usize, &Locator), Vec<usize>> = BTreeMap::new();
    for (index, secret) in plan.secrets.iter().enumerate() {
        requests.entry((secret.instance, &secret.reference.locator)).or_default().push(index);
    }
    let job = |((instance, locator), secrets): ((usize, _), Vec<usize>)| {
        let is_list = secrets.iter().any(|secret| plan.secrets[*secret].is_list);
        Job { instance, locator, secrets, is_list }
    };
    requests.into_iter().map(job).collect()
}
