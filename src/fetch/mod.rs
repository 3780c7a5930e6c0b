//! Fetches the secrets. Runs in the worker: nothing here has a privilege to lose.
//!
//! One request for each distinct locator, bounded per provider instance, tried again while the failure may pass, all
//! within one deadline. After a failure that will not pass nothing is tried again.
#![forbid(unsafe_code)]

mod context;
mod retry;
mod select;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use handfast_core::{ErrorKind, Fetched, Locator, Provider, ProviderError, SecretValue};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinSet, LocalSet};

use crate::config::Environment;
use crate::plan::{Instance, Secret};

/// What requests in flight still get after a failure that ends the start.
const GRACE: Duration = Duration::from_secs(2);

/// What became of one secret.
pub struct Outcome {
    /// The secret, as an index into the plan's.
    pub secret: usize,
    /// Its value, or its values by field, or why there is none.
    pub result: Result<Vec<Part>, Failure>,
}

/// A secret's value, or one field's of `#*`.
pub struct Part {
    /// The field, for `#*`.
    pub field: Option<String>,
    /// The value.
    pub value: SecretValue,
}

/// Why a secret could not be fetched.
#[derive(Debug)]
pub struct Failure {
    /// The provider's error, or that of the selection.
    pub error: ProviderError,
    /// How often it was tried.
    pub attempts: u32,
}

/// What to fetch, and how.
pub struct Order<'p> {
    /// The secrets.
    pub secrets: &'p [Secret],
    /// The provider instances in use.
    pub instances: Vec<Instance>,
    /// Requests in flight, per instance.
    pub concurrency: usize,
    /// When everything must be there.
    pub deadline: Instant,
}

/// Fetches everything. An optional secret that is not found has the failure too: what it means is the caller's business.
pub fn all(order: Order<'_>, environment: Environment) -> std::io::Result<Vec<Outcome>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let outcomes = LocalSet::new().block_on(&runtime, fetch(order, environment));
    Ok(outcomes)
}

async fn fetch(order: Order<'_>, environment: Environment) -> Vec<Outcome> {
    let mut jobs: BTreeMap<(usize, &Locator), Vec<usize>> = BTreeMap::new();
    for (index, secret) in order.secrets.iter().enumerate() {
        jobs.entry((secret.instance, &secret.reference.locator)).or_default().push(index);
    }
    let context = context::context(environment);
    let (ended, ends) = watch::channel(None::<Instant>);
    let mut outcomes = Vec::new();
    let mut running: JoinSet<(Vec<usize>, Result<Fetched, Failure>)> = JoinSet::new();
    for (index, instance) in order.instances.into_iter().enumerate() {
        let connected = instance.configured.connect(context.clone());
        let permits = Rc::new(Semaphore::new(order.concurrency));
        for ((_, locator), secrets) in jobs.extract_if(.., |(of, _), _| *of == index) {
            match &connected {
                Ok(provider) => {
                    let request =
                        Request { provider: provider.clone(), locator: locator.clone(), permits: permits.clone() };
                    let cutoff = retry::Cutoff { deadline: order.deadline, ended: ends.clone() };
                    running.spawn_local(async move { (secrets, retry::until_final(&request, cutoff).await) });
                }
                Err(error) => {
                    let again = || ProviderError {
                        hint: error.hint.clone(),
                        ..ProviderError::new(error.kind, error.message.clone())
                    };
                    outcomes.extend(secrets.into_iter().map(|secret| failed(secret, again(), 1)));
                    end(&ended);
                }
            }
        }
    }
    while let Some(joined) = running.join_next().await {
        // A task ends by returning: it is never aborted, and a panic ends the whole process.
        let Ok((secrets, result)) = joined else { continue };
        let selected = select::all(order.secrets, &secrets, result);
        let fatal = |outcome: &Outcome| match &outcome.result {
            Ok(_) => false,
            Err(failure) => failure.error.kind != ErrorKind::NotFound || !order.secrets[outcome.secret].optional,
        };
        if selected.iter().any(fatal) {
            end(&ended);
        }
        outcomes.extend(selected);
    }
    outcomes
}

/// One request, shared by every secret with that locator.
struct Request {
    provider: Rc<dyn Provider>,
    locator: Locator,
    permits: Rc<Semaphore>,
}

fn failed(secret: usize, error: ProviderError, attempts: u32) -> Outcome {
    Outcome { secret, result: Err(Failure { error, attempts }) }
}

/// Marks the start as failed, once.
fn end(ended: &watch::Sender<Option<Instant>>) {
    ended.send_if_modified(|at| at.is_none() && at.replace(Instant::now() + GRACE).is_none());
}
