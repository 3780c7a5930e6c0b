//! Trying again: with full jitter, as long as the failure may pass, the start has not failed and the deadline is not there.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use handfast_core::{BoxFuture, ErrorKind, Locator, Provider, ProviderError};
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout_at};

use super::Failure;
use super::store::Store;

/// The first wait is a random part of this, the next of twice this, and so on
/// (aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter, "full jitter").
const BASE: Duration = Duration::from_millis(100);

/// No wait is a part of more than this.
const LONGEST: Duration = Duration::from_secs(5);

/// What a store may ask for with `Retry-After`.
const LONGEST_ASKED: Duration = Duration::from_secs(30);

/// When the grace after a failure is over, once there was one.
pub type Ended = watch::Receiver<Option<Instant>>;

/// When to stop.
#[derive(Clone)]
pub struct Cutoff {
    /// The deadline of the whole start.
    pub deadline: Instant,
    /// Set once the start has failed: until then requests in flight may still answer.
    pub ended: Ended,
}

/// What is asked of a provider.
pub type Request<T> = for<'a> fn(&'a dyn Provider, &'a Locator) -> BoxFuture<'a, Result<T, ProviderError>>;

/// Asks until there is an answer, a failure that will not pass, or no time.
pub async fn until_final<T>(store: &Store, locator: &Locator, request: Request<T>) -> Result<T, Failure> {
    let mut cutoff = store.cutoff.clone();
    let came_late = Instant::now() >= cutoff.deadline;
    let mut attempts = 0;
    let mut before = None;
    loop {
        let result = {
            // The semaphore is never closed, so that a permit always comes, or the time is over before it does.
            let permit = cutoff.bound(store.permits.acquire()).await;
            match permit {
                // The one that held it before may have used all the time.
                Some(_permit) if Instant::now() < cutoff.end() => {
                    attempts += 1;
                    let answer = cutoff.bound(request(&*store.provider, locator)).await;
                    answer.unwrap_or_else(|| Err(cutoff.no_answer(before.take())))
                }
                _ => Err(before.take().unwrap_or_else(|| not_asked(came_late))),
            }
        };
        let error = match result {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let tried_enough = store.max_retries.is_some_and(|most| attempts > most);
        if error.kind != ErrorKind::Unavailable || tried_enough || cutoff.is_over() {
            return Err(Failure { error, attempts });
        }
        tracing::debug!(target: "handfast", "attempt {attempts} for `{}` failed: {error}", locator.path);
        if !cutoff.wait(pause(attempts, error.retry_after)).await {
            return Err(Failure { error, attempts });
        }
        before = Some(error);
    }
}

/// How long to wait after the n-th attempt.
fn pause(attempts: u32, asked: Option<Duration>) -> Duration {
    let most = BASE.saturating_mul(1 << attempts.saturating_sub(1).min(16)).min(LONGEST);
    let jitter = most.mul_f64(fastrand::f64());
    asked.map_or(jitter, |asked| asked.min(LONGEST_ASKED) + jitter)
}

impl Cutoff {
    /// Runs a future until it is done, the deadline is there, or the grace after a failure is over.
    async fn bound<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        let deadline = self.deadline;
        tokio::pin!(future);
        tokio::select! {
            biased;
            done = timeout_at(deadline.into(), &mut future) => return done.ok(),
            () = failed(&mut self.ended) => {}
        }
        timeout_at(self.end().into(), future).await.ok()
    }

    /// When also what is in flight must be there: the deadline, or the end of the grace after a failure.
    fn end(&self) -> Instant {
        self.ended.borrow().map_or(self.deadline, |grace| grace.min(self.deadline))
    }

    /// Waits before the next attempt; `false` where there will be none. The last wait is cut to the deadline.
    async fn wait(&mut self, pause: Duration) -> bool {
        let until = (Instant::now() + pause).min(self.deadline);
        tokio::select! {
            () = sleep_until(until.into()) => !self.is_over(),
            () = failed(&mut self.ended) => false,
        }
    }

    fn is_over(&self) -> bool {
        self.ended.borrow().is_some() || Instant::now() >= self.deadline
    }

    /// `before` is what the attempt before came to: it tells more than that there was no time for another.
    fn no_answer(&self, before: Option<ProviderError>) -> ProviderError {
        let message = if self.ended.borrow().is_some() && Instant::now() < self.deadline {
            "no answer within 2 s after another failure"
        } else {
            "no answer until the deadline"
        };
        match before {
            Some(before) => ProviderError { message: format!("{}, and then {message}", before.message), ..before },
            None => ProviderError::new(ErrorKind::Unavailable, message),
        }
    }
}

/// There was no time, or all of it went by while others were asked.
fn not_asked(came_late: bool) -> ProviderError {
    let message = match came_late {
        true => "not asked for: the deadline was over before",
        false => "not asked for: all of `[fetch] concurrency` was in use until the end",
    };
    ProviderError::new(ErrorKind::Unavailable, message)
}

/// Resolves when the start has failed.
async fn failed(ended: &mut Ended) {
    if ended.wait_for(Option::is_some).await.is_err() {
        std::future::pending::<()>().await;
    }
}
