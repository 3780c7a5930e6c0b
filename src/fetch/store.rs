//! One provider instance: its answers, each asked for once, and how it is let go.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use handfast_core::{Content, Context, Ending, Entry, Expiry, Fetched, Found, Locator, Provider, SecretValue, Summary};
use tokio::sync::{OnceCell, Semaphore, oneshot};
use tokio::task::JoinSet;

use super::Failure;
use super::retry::{Cutoff, batch_until_final, until_final};
use crate::plan::Instance;

/// What ends sooner than this is told as a warning: nothing renews it after the app has started.
const SOON: Duration = Duration::from_secs(24 * 3600);

/// A provider instance with its connection.
pub struct Store {
    /// Its name: the first part of a reference.
    pub name: String,
    /// The connection.
    pub provider: Rc<dyn Provider>,
    /// Requests in flight.
    pub permits: Semaphore,
    /// How often a request is tried again.
    pub max_retries: Option<u32>,
    /// When to stop.
    pub cutoff: Cutoff,
    answers: RefCell<BTreeMap<Locator, Rc<Asked>>>,
    /// The answers that a batch is to bring, until somebody waits for them.
    coming: RefCell<BTreeMap<Locator, oneshot::Receiver<Result<Fetched, Failure>>>>,
}

/// A request that is made once, by the first who asks.
pub type Asked = OnceCell<Result<Fetched, Failure>>;

/// What a locator gave.
pub enum Answer {
    /// One value, or why there is none.
    One(Rc<Asked>),
    /// The secrets of a list, each with its name, or why there is no list.
    List(Result<Vec<(String, Listed)>, Failure>),
    /// What the store says of its place.
    Place(Result<u128, Failure>),
}

/// A secret of a list.
pub enum Listed {
    /// It came with the list.
    Value(SecretValue),
    /// It was asked for by itself.
    Asked(Rc<Asked>),
}

impl Store {
    /// A connection, and what bounds it.
    pub fn new(
        name: String,
        provider: Rc<dyn Provider>,
        concurrency: usize,
        max_retries: Option<u32>,
        cutoff: Cutoff,
    ) -> Self {
        let permits = Semaphore::new(concurrency);
        Self { name, provider, permits, max_retries, cutoff, answers: RefCell::default(), coming: RefCell::default() }
    }

    /// Asks for as many of the locators together as the store takes: whoever asks for one of them then waits for its batch. To be
    /// polled until all are answered.
    pub fn start_batches(self: &Rc<Self>, locators: &[&Locator], running: &mut JoinSet<()>) {
        for batch in self.provider.batches(locators).into_iter().filter(|batch| batch.len() > 1) {
            let mut waiting = Vec::new();
            for locator in batch {
                let (sender, receiver) = oneshot::channel();
                self.coming.borrow_mut().insert(locator.clone(), receiver);
                waiting.push((locator.clone(), sender));
            }
            let store = self.clone();
            running.spawn_local(async move { batch_until_final(&store, waiting).await });
        }
    }

    /// Asks for a locator, and for each of its secrets where it is a list.
    pub async fn answer(self: Rc<Self>, locator: &Locator, is_list: bool) -> Answer {
        if is_list { Answer::List(self.list(locator).await) } else { Answer::One(self.ask(locator).await) }
    }

    /// Asks for a locator's place.
    pub async fn place(self: Rc<Self>, locator: &Locator) -> Answer {
        Answer::Place(until_final(&self, locator, |provider, locator| provider.place(locator)).await)
    }

    /// Asks once, however many want to know.
    async fn ask(&self, locator: &Locator) -> Rc<Asked> {
        let asked = self.answers.borrow_mut().entry(locator.clone()).or_default().clone();
        asked.get_or_init(|| self.answered(locator)).await;
        asked
    }

    async fn answered(&self, locator: &Locator) -> Result<Fetched, Failure> {
        let coming = self.coming.borrow_mut().remove(locator);
        // A batch that says nothing of it lets go of its end.
        if let Some(coming) = coming
            && let Ok(answer) = coming.await
        {
            return answer;
        }
        until_final(self, locator, |provider, locator| provider.fetch(locator)).await
    }

    async fn list(self: Rc<Self>, locator: &Locator) -> Result<Vec<(String, Listed)>, Failure> {
        let fetched = until_final(&self, locator, |provider, locator| provider.fetch(locator)).await?;
        let Content::List(entries) = fetched.content else { return Ok(Vec::new()) };
        let mut secrets = Vec::new();
        let mut running = JoinSet::new();
        for Entry { name, found } in entries {
            match found {
                Found::Value(value) => secrets.push((name, Listed::Value(value))),
                Found::At(locator) => {
                    let store = self.clone();
                    running.spawn_local(async move { (name, Listed::Asked(store.ask(&locator).await)) });
                }
            }
        }
        while let Some(joined) = running.join_next().await {
            // As in the loop over all secrets: a task ends by returning.
            secrets.extend(joined);
        }
        Ok(secrets)
    }
}

/// Lets all of them go, side by side, and tells what each has done. What it leaves to the app can be given back with what this
/// returns.
pub async fn finish(stores: &[(usize, Rc<Store>)], ending: Ending, until: Instant) -> Vec<(usize, SecretValue)> {
    let mut running = JoinSet::new();
    for (_, store) in stores {
        let provider = store.provider.clone();
        running.spawn_local(async move { provider.finish(ending).await });
    }
    all_of(running, until).await;
    for (_, store) in stores {
        store.tell(ending);
    }
    let left = stores.iter().filter(|_| ending == Ending::Fetched);
    left.filter_map(|(index, store)| Some((*index, store.provider.undoable()?))).collect()
}

/// Gives back what [`finish`] has left, side by side.
pub async fn undo(parts: Vec<(Instance, SecretValue)>, context: Context, until: Instant) {
    let mut running = JoinSet::new();
    for (instance, told) in parts {
        match instance.configured.connect(context.clone()) {
            Ok(provider) => drop(running.spawn_local(async move { provider.undo(&told).await })),
            Err(error) => {
                let name = instance.name;
                tracing::warn!(target: "handfast", "`{name}`: cannot give back what was issued, which ends by itself: {error}");
            }
        }
    }
    all_of(running, until).await;
}

async fn all_of(mut running: JoinSet<()>, until: Instant) {
    let done = tokio::time::timeout_at(until.into(), async { while running.join_next().await.is_some() {} }).await;
    if done.is_err() {
        handfast_core::debug!("not every provider was let go in time");
    }
}

impl Store {
    fn tell(&self, ending: Ending) {
        let Summary { requests, expiry } = self.provider.summary();
        if requests > 0 {
            let plural = if requests == 1 { "request" } else { "requests" };
            tracing::info!(target: "handfast", "`{}`: {requests} {plural}", self.name);
        }
        let Some(Expiry { what, after }) = expiry.filter(|_| ending == Ending::Fetched) else { return };
        let text = format!(
            "`{}`: {what} ends in {}, and nothing renews it once the app has started",
            self.name,
            humantime::format_duration(Duration::from_secs(after.as_secs()))
        );
        if after < SOON {
            tracing::warn!(target: "handfast", "{text}");
        } else {
            tracing::info!(target: "handfast", "{text}");
        }
    }
}
