//! The results of due work as they come: of several reads, the first answers, and the requests that are still running.
#![forbid(unsafe_code)]

use std::time::Duration;

use handfast_core::{Grant, ProviderError, Standing};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::outcome::Failure;
use super::round::Answer;

/// How long the first answer of several requests waits for the others, so that secrets that were changed together are delivered
/// together. A request that hangs delays the others no longer than this.
const TOGETHER: Duration = Duration::from_millis(500);

/// The result of due work, before the secrets are selected from its answers.
pub enum Raw {
    /// Some answers, and the requests whose answers are still to come.
    Read(Vec<(usize, Answer)>, PendingReads),
    /// The lease of a request was renewed, or was not.
    Renewed(usize, Result<Grant, Failure>),
    /// The result of the upkeep of an instance's login.
    UpkeepDone(usize, Result<Option<Standing>, ProviderError>),
}

/// Requests of one provider instance that were made together.
#[derive(Default)]
pub struct PendingReads {
    /// The requests that are not answered yet.
    pub requests: JoinSet<(usize, Answer)>,
    /// The batches that these requests wait for.
    pub batches: JoinSet<()>,
}

impl PendingReads {
    /// Waits for the first answer, and a little longer for the others.
    pub async fn next(mut self) -> Raw {
        let first = self.requests.join_next().await;
        let until = Instant::now() + TOGETHER;
        // A task ends by returning.
        let mut answers: Vec<_> = first.into_iter().flatten().collect();
        while let Ok(Some(answer)) = timeout_at(until, self.requests.join_next()).await {
            answers.extend(answer);
        }
        Raw::Read(answers, self)
    }
}
