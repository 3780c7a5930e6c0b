//! Reads secrets again, after the first round: each request by itself, and once.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::{OnceCell, watch};
use tokio::task::JoinSet;

use super::outcome::{Failure, Outcome};
use super::retry::Cutoff;
use super::round::{Answer, Round};
use super::{Fetch, select};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// The answers to requests, each by the request's number.
pub struct Refreshed(Vec<(usize, Answer)>);

impl Fetch<'_> {
    /// Whether each provider instance is a store, which is asked at a steady pace.
    pub fn is_paced(&self) -> impl Iterator<Item = bool> {
        self.is_paced.iter().copied()
    }

    /// The requests of a round: the provider instance and the secrets of each.
    pub fn jobs(&self) -> impl Iterator<Item = (usize, &[usize])> {
        self.jobs.iter().map(|job| (job.instance, &job.secrets[..]))
    }

    /// The local files that are read, each with the number of its request.
    pub fn files(&self) -> impl Iterator<Item = (usize, PathBuf)> {
        self.files.iter().cloned()
    }

    /// Makes requests of one provider instance once more, in a task.
    pub fn refresh(&self, instance: usize, jobs: &[usize], running: &mut JoinSet<Refreshed>) {
        let store = match &self.stores[instance] {
            Ok(store) => store.clone(),
            Err(error) => {
                let failed = || OnceCell::from(Err(Failure { error: error.once_more(), attempts: 1 }));
                let answers = jobs.iter().map(|at| (*at, Answer::One(Rc::new(failed())))).collect();
                running.spawn_local(async { Refreshed(answers) });
                return;
            }
        };
        let wanted: Vec<_> =
            jobs.iter().map(|at| (*at, self.jobs[*at].locator.clone(), self.jobs[*at].is_list)).collect();
        running.spawn_local(async move {
            let (_failed, fails) = watch::channel(None);
            let cutoff = Cutoff { deadline: Instant::now() + PATIENCE, failed: fails, once: true };
            let round = Rc::new(Round::new(store, cutoff));
            let mut batches = JoinSet::new();
            round.start_batches(&wanted.iter().map(|(_, locator, _)| locator).collect::<Vec<_>>(), &mut batches);
            let mut asking = JoinSet::new();
            for (at, locator, is_list) in wanted {
                let round = round.clone();
                asking.spawn_local(async move { (at, round.answer(&locator, is_list).await) });
            }
            Refreshed(asking.join_all().await)
        });
    }

    /// What the answers are for each secret, by request.
    pub fn outcomes(&self, Refreshed(answers): Refreshed) -> Vec<(usize, Vec<Outcome>)> {
        let select =
            |(at, answer): (usize, Answer)| (at, select::all(&self.plan.secrets, &self.jobs[at].secrets, &answer));
        answers.into_iter().map(select).collect()
    }
}
