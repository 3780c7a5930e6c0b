//! Retries with full jitter: as long as the failure is temporary, the start has not failed, and the deadline has not passed.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use handfast_core::{BoxFuture, ErrorKind, Fetched, Locator, Provider, ProviderError};
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep_until, timeout_at};

use super::outcome::Failure;
use super::store::Store;

/// The first wait is a random part of this, the next of twice this, and so on
/// (aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter, "full jitter").
const BASE: Duration = Duration::from_millis(100);

/// No wait is a part of more than this.
const LONGEST: Duration = Duration::from_secs(5);

/// The longest wait that a store may ask for with `Retry-After`.
const LONGEST_ASKED: Duration = Duration::from_secs(30);

/// Set after the first failure: when its grace is over.
pub type Failed = watch::Receiver<Option<Instant>>;

/// When to stop trying.
#[derive(Clone)]
pub struct Cutoff {
    /// The deadline of the round.
    pub deadline: Instant,
    /// Set once the round has failed: until when requests in flight may still be answered.
    pub failed: Failed,
    /// Whether no request is retried, because the caller retries later.
    pub once: bool,
}

/// A request to a provider.
pub type Request<T> = for<'a> fn(&'a dyn Provider, &'a Locator) -> BoxFuture<'a, Result<T, ProviderError>>;

/// Sends a request until there is an answer, a permanent failure, or no time left.
pub async fn until_final<T>(
    store: &Store,
    cutoff: Cutoff,
    locator: &Locator,
    request: Request<T>,
) -> Result<T, Failure> {
    let mut tries = Tries::new(store, cutoff);
    let mut before = None;
    loop {
        let error = match tries.ask(|| request(&*store.provider, locator)).await {
            Tried::Answered(Ok(answer)) => return Ok(answer),
            Tried::Answered(Err(error)) => error,
            Tried::NoAnswer => tries.cutoff.no_answer(before.take()),
            Tried::NoTurn => before.take().unwrap_or_else(|| tries.not_asked()),
        };
        if tries.is_final(&error) {
            return Err(Failure { error, attempts: tries.attempts });
        }
        handfast_core::debug!("attempt {} for `{}` failed: {error}", tries.attempts, locator.path);
        if !tries.wait(error.retry_after).await {
            return Err(Failure { error, attempts: tries.attempts });
        }
        before = Some(error);
    }
}

/// A locator, and the sender of its answer to the caller that waits. If the sender is dropped, the caller sends a request of its own.
pub type Waiting = (Locator, oneshot::Sender<Result<Fetched, Failure>>);

/// The same for a batch. Each locator is answered as soon as its result is final, and only the others are requested again.
pub async fn batch_until_final(store: &Store, cutoff: Cutoff, waiting: Vec<Waiting>) {
    let mut tries = Tries::new(store, cutoff);
    let mut waiting: Vec<(Waiting, Option<ProviderError>)> =
        waiting.into_iter().map(|waiting| (waiting, None)).collect();
    while !waiting.is_empty() {
        let locators: Vec<&Locator> = waiting.iter().map(|((locator, _), _)| locator).collect();
        let asked = tries.ask(|| store.provider.fetch_batch(&locators)).await;
        let answers = match asked {
            Tried::Answered(answers) => answers,
            Tried::NoAnswer => {
                waiting.iter_mut().map(|(_, before)| Some(Err(tries.cutoff.no_answer(before.take())))).collect()
            }
            Tried::NoTurn => {
                let error = |before: Option<ProviderError>| before.unwrap_or_else(|| tries.not_asked());
                waiting.iter_mut().map(|(_, before)| Some(Err(error(before.take())))).collect()
            }
        };
        let mut again = Vec::new();
        for (((locator, sender), _), answer) in waiting.into_iter().zip(answers) {
            let attempts = tries.attempts;
            match answer {
                None => drop(sender),
                Some(Err(error)) if !tries.is_final(&error) => again.push(((locator, sender), Some(error))),
                // The receiver may have been dropped with the rest of the start.
                Some(answer) => drop(sender.send(answer.map_err(|error| Failure { error, attempts }))),
            }
        }
        waiting = again;
        let mut longest = None;
        for ((locator, _), error) in &waiting {
            let Some(error) = error else { continue };
            handfast_core::debug!("attempt {} for `{}` failed: {error}", tries.attempts, locator.path);
            longest = longest.max(error.retry_after);
        }
        if !waiting.is_empty() && !tries.wait(longest).await {
            for ((_, sender), error) in waiting {
                let failure = error.map(|error| Failure { error, attempts: tries.attempts });
                drop(failure.map(|failure| sender.send(Err(failure))));
            }
            return;
        }
    }
}

/// The tries of one request.
struct Tries<'s> {
    store: &'s Store,
    cutoff: Cutoff,
    /// Whether the deadline had passed before the first try.
    came_late: bool,
    attempts: u32,
}

/// The result of a try.
enum Tried<T> {
    Answered(T),
    /// The time was over before an answer came.
    NoAnswer,
    /// The time was over before there was a permit for this request.
    NoTurn,
}

impl<'s> Tries<'s> {
    fn new(store: &'s Store, cutoff: Cutoff) -> Self {
        let came_late = Instant::now() >= cutoff.deadline;
        Self { store, cutoff, came_late, attempts: 0 }
    }

    /// One try, once there is a permit for it.
    async fn ask<'a, T>(&mut self, request: impl FnOnce() -> BoxFuture<'a, T>) -> Tried<T> {
        // The semaphore is never closed: either a permit comes, or the time is over.
        match self.cutoff.bound(self.store.permits.acquire()).await {
            // The earlier holder of the permit may have used up the time.
            Some(_permit) if Instant::now() < self.cutoff.end() => {
                self.attempts += 1;
                self.cutoff.bound(request()).await.map_or(Tried::NoAnswer, Tried::Answered)
            }
            _ => Tried::NoTurn,
        }
    }

    /// Whether there is no next try after this failure.
    fn is_final(&self, error: &ProviderError) -> bool {
        let tried_enough = self.store.max_retries.is_some_and(|most| self.attempts > most);
        error.kind != ErrorKind::Unavailable || tried_enough || self.cutoff.once || self.cutoff.is_over()
    }

    /// The error for a request that was never sent: there was no time, or other requests used it up.
    fn not_asked(&self) -> ProviderError {
        let message = match self.came_late {
            true => "not asked for: the deadline had passed before",
            false => "not asked for: all of `[fetch] concurrency` was in use until the end",
        };
        ProviderError::new(ErrorKind::Unavailable, message)
    }

    /// Waits before the next try; `false` if there will be none.
    async fn wait(&mut self, asked: Option<Duration>) -> bool {
        self.cutoff.wait(pause(self.attempts, asked)).await
    }
}

/// How long to wait after the n-th attempt.
fn pause(attempts: u32, asked: Option<Duration>) -> Duration {
    let most = BASE.saturating_mul(1 << attempts.saturating_sub(1).min(16)).min(LONGEST);
    let jitter = most.mul_f64(fastrand::f64());
    asked.map_or(jitter, |asked| asked.min(LONGEST_ASKED) + jitter)
}

impl Cutoff {
    /// Runs a future until it is done, the deadline has passed, or the grace after a failure is over.
    async fn bound<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        let deadline = self.deadline;
        tokio::pin!(future);
        tokio::select! {
            biased;
            done = timeout_at(deadline.into(), &mut future) => return done.ok(),
            () = failed(&mut self.failed) => {}
        }
        timeout_at(self.end().into(), future).await.ok()
    }

    /// When requests in flight are given up: at the deadline, or at the end of the grace after a failure.
    fn end(&self) -> Instant {
        self.failed.borrow().map_or(self.deadline, |grace| grace.min(self.deadline))
    }

    /// Waits before the next attempt; `false` if there will be none. The last wait ends at the deadline.
    async fn wait(&mut self, pause: Duration) -> bool {
        let until = (Instant::now() + pause).min(self.deadline);
        tokio::select! {
            () = sleep_until(until.into()) => !self.is_over(),
            () = failed(&mut self.failed) => false,
        }
    }

    fn is_over(&self) -> bool {
        self.failed.borrow().is_some() || Instant::now() >= self.deadline
    }

    /// The error for a request without an answer. `before` is the failure of the attempt before, which explains more than the lack of time.
    fn no_answer(&self, before: Option<ProviderError>) -> ProviderError {
        let message = if self.failed.borrow().is_some() && Instant::now() < self.deadline {
            "no answer within 2 s after another failure"
        } else if self.once {
            "no answer in time"
        } else {
            "no answer until the deadline"
        };
        match before {
            Some(before) => ProviderError { message: format!("{}, and then {message}", before.message), ..before },
            None => ProviderError::new(ErrorKind::Unavailable, message),
        }
    }
}

/// Resolves when the start has failed.
async fn failed(over: &mut Failed) {
    if over.wait_for(Option::is_some).await.is_err() {
        std::future::pending::<()>().await;
    }
}
