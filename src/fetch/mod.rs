//! Fetches the secrets. Runs in the worker: nothing here has a privilege to lose.
//!
//! One request for each distinct locator, or for as many as the store takes at once, bounded per provider instance, tried again while the failure may pass, all
//! within one deadline. After a failure that will not pass nothing is tried again.
#![forbid(unsafe_code)]

mod context;
mod retry;
mod select;
mod store;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use handfast_core::{Context, Ending, ErrorKind, Locator, ProviderError, SecretValue};
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};

use crate::config::Environment;
use crate::plan::{Instance, Instances, Secret};
use store::Store;

/// What requests in flight still get after a failure that ends the start.
const GRACE: Duration = Duration::from_secs(2);

/// What the providers get for giving back what they were given, even where the deadline is over.
const OVERTIME: Duration = Duration::from_millis(500);

/// What the providers get for letting go: 2 s of their own, and the time to say that these are over.
const LETTING_GO: Duration = Duration::from_millis(2200);

/// What became of one secret.
pub struct Outcome {
    /// The secret, as an index into the plan's.
    pub secret: usize,
    /// What was found, or why nothing was.
    pub result: Result<Finding, Failure>,
}

/// What a fetch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// The secrets are used.
    Use,
    /// Each is fetched and given back, to say whether it can be had. None cuts the others short.
    Try,
    /// None is fetched: the store of this instance is asked for the places of its secrets.
    Survey(usize),
}

impl Aim {
    /// Whether a secret is asked for.
    pub fn asks(self, secret: &Secret) -> bool {
        !matches!(self, Aim::Survey(instance) if instance != secret.instance)
    }
}

/// What was found of one secret.
pub enum Finding {
    /// Its value, or its values by name.
    Values(Vec<Part>),
    /// What the store says of its place.
    Place(u128),
}

/// A secret's value, or one of several: a field's of `#*`, a secret's of a list.
pub struct Part {
    /// Its name, where there are several.
    pub name: Option<String>,
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
    /// What for.
    pub aim: Aim,
    /// The secrets.
    pub secrets: &'p [Secret],
    /// The provider instances in use.
    pub instances: Instances,
    /// Requests in flight, per instance.
    pub concurrency: usize,
    /// When everything must be there.
    pub deadline: Instant,
}

/// What came of it all.
pub struct Fetched {
    /// What became of each secret.
    pub outcomes: Vec<Outcome>,
    /// What [`undo`] needs to give back what was given, should the start fail later: of instances, as indices into the order's.
    pub undo: Vec<(usize, SecretValue)>,
}

/// What runs a fetch, on the one thread there is.
pub struct Runtime(tokio::runtime::Runtime);

impl Runtime {
    /// A runtime that these instances can be asked on.
    pub fn new(instances: &[Instance]) -> std::io::Result<Self> {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        if instances.iter().any(|instance| instance.configured.sockets().any()) {
            runtime.enable_io();
        }
        runtime.enable_time().build().map(Self)
    }

    /// Fetches everything. An optional secret that is not found has the failure too: what it means is the caller's business.
    pub fn fetch(&self, order: Order<'_>, environment: Environment) -> Fetched {
        self.run(fetch(order, environment))
    }

    /// Gives back what was given to a start that has failed after its fetch, as far as that goes in two seconds.
    pub fn undo(&self, parts: Vec<(Instance, SecretValue)>, environment: Environment) {
        self.run(store::undo(parts, context::context(environment), Instant::now() + GRACE));
    }

    fn run<T>(&self, future: impl Future<Output = T>) -> T {
        LocalSet::new().block_on(&self.0, future)
    }
}

async fn fetch(order: Order<'_>, environment: Environment) -> Fetched {
    let mut jobs: BTreeMap<(usize, &Locator), Vec<usize>> = BTreeMap::new();
    for (index, secret) in order.secrets.iter().enumerate().filter(|(_, secret)| order.aim.asks(secret)) {
        jobs.entry((secret.instance, &secret.reference.locator)).or_default().push(index);
    }
    let is_list = |secrets: &[usize]| secrets.iter().any(|secret| order.secrets[*secret].is_list);
    let context = context::context(environment);
    let (ended, ends) = watch::channel(None::<Instant>);
    let mut outcomes = Vec::new();
    let mut stores = Vec::new();
    let mut running = JoinSet::new();
    let mut batches = JoinSet::new();
    for instance in order.instances {
        let index = instance.index;
        let cutoff = retry::Cutoff { deadline: order.deadline, ended: ends.clone() };
        let max_retries = instance.configured.max_retries();
        let jobs: Vec<_> = jobs.extract_if(.., |(of, _), _| *of == index).collect();
        let several = jobs.len() > 1 || jobs.iter().any(|(_, secrets)| is_list(secrets));
        let connected = instance.configured.connect(Context { several, ..context.clone() });
        let store = connected
            .map(|provider| Rc::new(Store::new(instance.name, provider, order.concurrency, max_retries, cutoff)));
        if let (Ok(store), Aim::Use | Aim::Try) = (&store, order.aim) {
            let locators: Vec<&Locator> = jobs.iter().map(|((_, locator), _)| *locator).collect();
            store.start_batches(&locators, &mut batches);
        }
        for ((_, locator), secrets) in jobs {
            match &store {
                Ok(store) => {
                    let (store, locator) = (store.clone(), locator.clone());
                    let is_list = is_list(&secrets);
                    running.spawn_local(async move {
                        let answer = match order.aim {
                            Aim::Use | Aim::Try => store.answer(&locator, is_list).await,
                            Aim::Survey(_) => store.place(&locator).await,
                        };
                        (secrets, answer)
                    });
                }
                Err(error) => {
                    outcomes.extend(secrets.into_iter().map(|secret| failed(secret, error.once_more(), 1)));
                    end(&ended, order.aim);
                }
            }
        }
        stores.extend(store.ok().map(|store| (index, store)));
    }
    while let Some(joined) = running.join_next().await {
        // A task ends by returning: it is never aborted, and a panic ends the whole process.
        let Ok((secrets, answer)) = joined else { continue };
        let selected = select::all(order.secrets, &secrets, &answer);
        if selected.iter().any(|outcome| is_fatal(outcome, order.secrets)) {
            end(&ended, order.aim);
        }
        outcomes.extend(selected);
    }
    let failed = outcomes.iter().any(|outcome| is_fatal(outcome, order.secrets));
    let ending = if failed || order.aim != Aim::Use { Ending::Failed } else { Ending::Fetched };
    let last = match ending {
        Ending::Fetched => order.deadline,
        Ending::Failed => order.deadline + OVERTIME,
    };
    let undo = store::finish(&stores, ending, (Instant::now() + LETTING_GO).min(last.max(Instant::now()))).await;
    Fetched { outcomes, undo }
}

/// Whether a failure ends the start.
fn is_fatal(outcome: &Outcome, plan: &[Secret]) -> bool {
    match &outcome.result {
        Ok(_) => false,
        Err(failure) => failure.error.kind != ErrorKind::NotFound || !plan[outcome.secret].optional,
    }
}

fn failed(secret: usize, error: ProviderError, attempts: u32) -> Outcome {
    Outcome { secret, result: Err(Failure { error, attempts }) }
}

/// Marks the start as failed, once. Where each secret is tried for itself, the others go on.
fn end(ended: &watch::Sender<Option<Instant>>, aim: Aim) {
    if aim != Aim::Use {
        return;
    }
    ended.send_if_modified(|at| at.is_none() && at.replace(Instant::now() + GRACE).is_none());
}
