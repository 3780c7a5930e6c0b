//! What every way to keys may know and use.

use std::cell::Cell;
use std::sync::Arc;

use handfast_core::{Context, Credential, ErrorKind, Grace, ProviderError, SecretValue};
use handfast_http::{Client, Request, Response};

use super::settings::{Settings, Way};
use crate::endpoints::Endpoints;

/// What every way may know and use.
pub struct Outside {
    /// What the configuration and AWS' variables say of who we are.
    pub settings: Settings,
    /// The only way to ask: the pinned way, or the way that has given keys before.
    pub way: Cell<Option<Way>>,
    /// Where AWS' services are.
    pub endpoints: Endpoints,
    /// Files, variables, the clock.
    pub context: Context,
    /// The way to AWS.
    pub client: Arc<Client>,
    /// How many requests have been sent.
    pub requests: Cell<u64>,
    /// Since when STS has not got the key of the identity provider.
    pub grace: Grace,
}

impl Outside {
    /// Sends a request, and counts it.
    pub async fn send(&self, client: &Client, request: Request) -> Result<Response, ProviderError> {
        self.requests.set(self.requests.get() + 1);
        client.send(request).await
    }

    /// A variable that holds no credential.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.context.environment.variable(name)
    }
}

/// A failure to get credentials that is final: the next way is not tried, since it could give another identity.
pub fn denied(message: impl Into<String>) -> ProviderError {
    ProviderError::new(ErrorKind::Denied, message.into())
}

/// Reads a token's file: again at each use, since whoever wrote it renews it.
pub fn token_file(path: &str, context: &Context) -> Result<SecretValue, ProviderError> {
    Credential::File(path.into()).read("token", context)
}
