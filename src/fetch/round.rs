//! One provider instance in one round: each answer is requested once, and shared within the round.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use handfast_core::{Content, Entry, ErrorKind, Fetched, Found, Locator, ProviderError, SecretValue, excerpt};
use tokio::sync::{OnceCell, oneshot};
use tokio::task::JoinSet;

use super::outcome::Failure;
use super::retry::{Cutoff, batch_until_final, until_final};
use super::store::Store;

/// A round of one instance.
pub struct Round {
    store: Rc<Store>,
    cutoff: Cutoff,
    answers: RefCell<BTreeMap<Locator, Rc<Asked>>>,
    /// The answers that a batch will bring, until a caller waits for them.
    batched: RefCell<BTreeMap<Locator, oneshot::Receiver<Result<Fetched, Failure>>>>,
}

/// The answer to a request that only its first caller makes.
pub type Asked = OnceCell<Result<Fetched, Failure>>;

/// The answer to a locator.
pub enum Answer {
    /// One value, or why there is none.
    One(Rc<Asked>),
    /// The secrets of a list, each with its name, or why there is no list.
    List(Result<Vec<(String, Listed)>, Failure>),
}

/// A secret of a list.
pub enum Listed {
    /// The list contained its value.
    Value(SecretValue),
    /// A request of its own has fetched it.
    Asked(Rc<Asked>),
}

impl Round {
    /// A round without a request so far.
    pub fn new(store: Rc<Store>, cutoff: Cutoff) -> Self {
        Self { store, cutoff, answers: RefCell::default(), batched: RefCell::default() }
    }

    /// Starts batches of the locators. A later request for one of them waits for its batch. The caller must poll `running` until all are
    /// answered.
    pub fn start_batches(&self, locators: &[&Locator], running: &mut JoinSet<()>) {
        for batch in self.store.provider.batches(locators).into_iter().filter(|batch| batch.len() > 1) {
            let mut waiting = Vec::new();
            for locator in batch {
                let (sender, receiver) = oneshot::channel();
                self.batched.borrow_mut().insert(locator.clone(), receiver);
                waiting.push((locator.clone(), sender));
            }
            let (store, cutoff) = (self.store.clone(), self.cutoff.clone());
            running.spawn_local(async move { batch_until_final(&store, cutoff, waiting).await });
        }
    }

    /// Fetches a locator; of a list, also each of its secrets.
    pub async fn answer(self: Rc<Self>, locator: &Locator, is_list: bool) -> Answer {
        if is_list { Answer::List(self.list(locator).await) } else { Answer::One(self.ask(locator).await) }
    }

    /// Asks the store for the facts that a policy for this locator depends on.
    pub async fn survey(&self, locator: &Locator) -> Result<(), Failure> {
        until_final(&self.store, self.cutoff.clone(), locator, |provider, locator| provider.survey(locator)).await
    }

    /// Fetches a locator once, however many callers need the answer.
    async fn ask(&self, locator: &Locator) -> Rc<Asked> {
        let asked = self.answers.borrow_mut().entry(locator.clone()).or_default().clone();
        asked.get_or_init(|| self.fetch_or_await_batch(locator)).await;
        asked
    }

    async fn fetch_or_await_batch(&self, locator: &Locator) -> Result<Fetched, Failure> {
        let batched = self.batched.borrow_mut().remove(locator);
        // A batch that has no answer for this locator drops its sender.
        if let Some(batched) = batched
            && let Ok(answer) = batched.await
        {
            return answer;
        }
        self.fetch(locator).await
    }

    async fn fetch(&self, locator: &Locator) -> Result<Fetched, Failure> {
        until_final(&self.store, self.cutoff.clone(), locator, |provider, locator| provider.fetch(locator)).await
    }

    async fn list(self: Rc<Self>, locator: &Locator) -> Result<Vec<(String, Listed)>, Failure> {
        let Content::List(entries) = self.fetch(locator).await?.content else { return Ok(Vec::new()) };
        let mut secrets = Vec::new();
        let mut absent = Vec::new();
        let mut running = JoinSet::new();
        for Entry { name, found } in entries {
            match found {
                Found::Value(value) => secrets.push((name, Listed::Value(value))),
                Found::At(locator) => {
                    let round = self.clone();
                    running.spawn_local(async move { (name, round.ask(&locator).await) });
                }
                Found::Nothing(error) => absent.push((name, error)),
            }
        }
        while let Some(joined) = running.join_next().await {
            // As in the loop over all secrets: a task ends by returning.
            let Ok((name, asked)) = joined else { continue };
            match asked.get() {
                Some(Err(Failure { error, .. })) if error.kind == ErrorKind::NotFound => {
                    absent.push((name, error.once_more()));
                }
                _ => secrets.push((name, Listed::Asked(asked))),
            }
        }
        self.members(locator, secrets, absent)
    }

    /// The members of a list. A secret that the store lists and no longer has a value for is no member.
    fn members(
        &self,
        locator: &Locator,
        secrets: Vec<(String, Listed)>,
        mut absent: Vec<(String, ProviderError)>,
    ) -> Result<Vec<(String, Listed)>, Failure> {
        absent.sort_by(|(one, _), (other, _)| one.cmp(other));
        for (name, error) in &absent {
            let (store, path) = (&self.store.name, &locator.path);
            tracing::info!(target: "handfast", "`{store}:{path}` is without `{}`: {error}", excerpt(name));
        }
        match absent.first() {
            Some((name, error)) if secrets.is_empty() => {
                let message = match absent.len() {
                    1 => format!("its only secret, `{}`, has no value: {error}", excerpt(name)),
                    all => format!("none of its {all} secrets has a value; of `{}`: {error}", excerpt(name)),
                };
                let error = ProviderError { message, ..error.once_more() };
                Err(Failure { error: ProviderError { kind: ErrorKind::NotFound, ..error }, attempts: 1 })
            }
            _ => Ok(secrets),
        }
    }
}
