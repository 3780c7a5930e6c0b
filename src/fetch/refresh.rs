//! The requests after the first round: secrets are read again, leases and logins are renewed. No request is retried here: the schedule
//! decides when to try again.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use handfast_core::{ErrorKind, Grant, ProviderError};
use tokio::sync::{OnceCell, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::outcome::{Done, Failure, Outcome};
use super::pending::{PendingReads, Raw};
use super::retry::{Cutoff, Request, until_final};
use super::round::{Answer, Round};
use super::schedule::Due;
use super::store::Store;
use super::{Fetch, select};

/// How long to wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

impl Fetch<'_> {
    /// Whether each provider instance is a store, which is asked at a steady pace.
    pub fn is_paced(&self) -> impl Iterator<Item = bool> {
        self.is_paced.iter().copied()
    }

    /// The requests of a round: the provider instance and the secrets of each.
    pub fn jobs(&self) -> impl Iterator<Item = (usize, &[usize])> {
        self.jobs.iter().map(|job| (job.instance, &job.secrets[..]))
    }

    /// How many requests each provider instance has ever made.
    pub fn requests_made(&self) -> impl Iterator<Item = u64> {
        self.stores.iter().map(|store| store.as_ref().map_or(0, |store| store.provider.summary().requests))
    }

    /// The local files that are read, each with the number of its request.
    pub fn files(&self) -> impl Iterator<Item = (usize, PathBuf)> {
        self.files.iter().cloned()
    }

    /// Starts due work in a task.
    pub fn start(&self, due: Due, running: &mut JoinSet<Raw>) {
        match due {
            Due::Read(instance, jobs) => self.read(instance, &jobs, running),
            Due::Renew(at) => {
                let job = &self.jobs[at];
                let (store, locator) = (self.store(job.instance), job.locator.clone());
                running.spawn_local(async move {
                    let renewed = match store {
                        Ok(store) => {
                            let renew: Request<Grant> = |provider, locator| provider.renew(locator);
                            until_final(&store, once(), &locator, renew).await
                        }
                        Err(error) => Err(Failure { error, attempts: 1 }),
                    };
                    Raw::Renewed(at, renewed)
                });
            }
            Due::Upkeep(instance, upkeep) => {
                let store = self.store(instance);
                running.spawn_local(async move {
                    let upkeep_done = match store {
                        Ok(store) => {
                            let no_answer = || ProviderError::new(ErrorKind::Unavailable, "no answer in time");
                            let waited = timeout(PATIENCE, store.provider.upkeep(upkeep)).await;
                            waited.unwrap_or_else(|_| Err(no_answer()))
                        }
                        Err(error) => Err(error),
                    };
                    Raw::UpkeepDone(instance, upkeep_done)
                });
            }
        }
    }

    /// For each store: the provider instance's name, and a function that returns its number of requests.
    pub fn requests(&self) -> Vec<(String, Box<dyn Fn() -> u64>)> {
        let requests = |store: &Rc<Store>| {
            let (name, provider) = (store.name.clone(), store.provider.clone());
            (name, Box::new(move || provider.summary().requests) as Box<dyn Fn() -> u64>)
        };
        self.stores.iter().flatten().map(requests).collect()
    }

    /// The failures of this work, each with the provider instance's name: once for each request and kind.
    pub fn failures(&self, done: &Done) -> Vec<(&str, ErrorKind)> {
        let kinds = |outcomes: &[Outcome]| {
            let fatal = outcomes.iter().filter(|outcome| self.is_fatal(outcome));
            let mut kinds: Vec<ErrorKind> = Vec::new();
            for kind in fatal.filter_map(|outcome| Some(outcome.result.as_ref().err()?.error.kind)) {
                if !kinds.contains(&kind) {
                    kinds.push(kind);
                }
            }
            kinds
        };
        let (instances, kinds): (Vec<usize>, Vec<ErrorKind>) = match done {
            Done::Read(answers) => {
                let each = |(at, outcomes): &(usize, Vec<Outcome>)| {
                    let instance = self.jobs[*at].instance;
                    kinds(outcomes).into_iter().map(move |kind| (instance, kind))
                };
                answers.iter().flat_map(each).unzip()
            }
            Done::Renewed(at, Err(failure)) => (vec![self.jobs[*at].instance], vec![failure.error.kind]),
            Done::UpkeepDone(instance, Err(error)) => (vec![*instance], vec![error.kind]),
            Done::Renewed(_, Ok(_)) | Done::UpkeepDone(_, Ok(_)) => return Vec::new(),
        };
        let name = |instance: usize| {
            let secret = self.plan.secrets.iter().find(|secret| secret.instance == instance);
            secret.map_or("", |secret| secret.reference.provider.as_str())
        };
        instances.into_iter().map(name).zip(kinds).collect()
    }

    fn store(&self, instance: usize) -> Result<Rc<Store>, ProviderError> {
        self.stores[instance].as_ref().map(Rc::clone).map_err(ProviderError::once_more)
    }

    /// Starts these requests of one provider instance again.
    fn read(&self, instance: usize, jobs: &[usize], running: &mut JoinSet<Raw>) {
        let store = match self.store(instance) {
            Ok(store) => store,
            Err(error) => {
                let failed = || OnceCell::from(Err(Failure { error: error.once_more(), attempts: 1 }));
                let answers = jobs.iter().map(|at| (*at, Answer::One(Rc::new(failed())))).collect();
                running.spawn_local(async { Raw::Read(answers, PendingReads::default()) });
                return;
            }
        };
        let wanted: Vec<_> =
            jobs.iter().map(|at| (*at, self.jobs[*at].locator.clone(), self.jobs[*at].is_list)).collect();
        running.spawn_local(async move {
            let round = Rc::new(Round::new(store, once()));
            let mut pending = PendingReads::default();
            let locators: Vec<_> = wanted.iter().map(|(_, locator, _)| locator).collect();
            round.start_batches(&locators, &mut pending.batches);
            for (at, locator, is_list) in wanted {
                let round = round.clone();
                pending.requests.spawn_local(async move { (at, round.answer(&locator, is_list).await) });
            }
            pending.next().await
        });
    }

    /// Selects each secret from the answers, by request. Continues the requests that are not answered yet.
    pub fn evaluate(&self, raw: Raw, running: &mut JoinSet<Raw>) -> Done {
        match raw {
            Raw::Read(answers, pending) => {
                if !pending.requests.is_empty() {
                    running.spawn_local(pending.next());
                }
                let select = |(at, answer): (usize, Answer)| {
                    (at, select::all(&self.plan.secrets, &self.jobs[at].secrets, &answer))
                };
                Done::Read(answers.into_iter().map(select).collect())
            }
            Raw::Renewed(at, renewed) => Done::Renewed(at, renewed),
            Raw::UpkeepDone(instance, upkeep_done) => Done::UpkeepDone(instance, upkeep_done),
        }
    }
}

/// The limits of a request that is not retried.
fn once() -> Cutoff {
    let (_, failed) = watch::channel(None);
    Cutoff { deadline: Instant::now() + PATIENCE, failed, once: true }
}
