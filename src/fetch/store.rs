//! One provider instance with its connection: it lives as long as the worker.
#![forbid(unsafe_code)]

use std::rc::Rc;
use std::time::Duration;

use handfast_core::{Ending, Expiry, Provider, Summary, whole_seconds};
use tokio::sync::Semaphore;

/// An expiry sooner than this is a warning, because nothing renews the secret after the app has started.
const SOON: Duration = Duration::from_secs(24 * 3600);

/// A provider instance with its connection.
pub struct Store {
    /// Its name: the first part of a reference.
    pub name: String,
    /// The connection.
    pub provider: Rc<dyn Provider>,
    /// A permit for each request that may be in flight.
    pub permits: Semaphore,
    /// How often a request is tried again.
    pub max_retries: Option<u32>,
}

impl Store {
    /// A connection, and what bounds it.
    pub fn new(name: String, provider: Rc<dyn Provider>, concurrency: usize, max_retries: Option<u32>) -> Self {
        Self { name, provider, permits: Semaphore::new(concurrency), max_retries }
    }

    /// Logs how many requests were sent, and the earliest expiry of the secrets that the app uses.
    pub fn log_summary(&self, ending: Ending) {
        let Summary { requests, expiry, .. } = self.provider.summary();
        if requests > 0 {
            let plural = if requests == 1 { "request" } else { "requests" };
            tracing::info!(target: "handfast", "`{}`: {requests} {plural}", self.name);
        }
        let Some(Expiry { what, after }) = expiry.filter(|_| ending == Ending::Delivered) else { return };
        let text = format!(
            "`{}`: {what} ends in {}, and nothing renews it once the app has started",
            self.name,
            whole_seconds(after)
        );
        if after < SOON {
            tracing::warn!(target: "handfast", "{text}");
        } else {
            tracing::info!(target: "handfast", "{text}");
        }
    }
}
