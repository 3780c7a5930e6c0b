//! The settings, files, clients and clock that every way to get keys uses.

use std::cell::Cell;
use std::sync::Arc;

use handfast_core::{Context, Credential, ErrorKind, Grace, ProviderError, SecretValue};
use handfast_http::{Client, Request, Response};

use super::settings::{Settings, Way};
use crate::endpoints::Endpoints;

/// The settings, files, clients and clock.
pub struct Resources {
    /// The settings of the credentials.
    pub settings: Settings,
    /// The only allowed way: the configured way, or the way that the keys came from before.
    pub way: Cell<Option<Way>>,
    /// The endpoints of AWS's services.
    pub endpoints: Endpoints,
    /// The files, the variables and the clock.
    pub context: Context,
    /// The client for AWS.
    pub client: Arc<Client>,
    /// The number of requests so far.
    pub requests: Cell<u64>,
    /// Since when STS could not get the identity provider's key.
    pub grace: Grace,
}

impl Resources {
    /// Sends a request, and counts it.
    pub async fn send(&self, client: &Client, request: Request) -> Result<Response, ProviderError> {
        self.requests.set(self.requests.get() + 1);
        client.send(request).await
    }

    /// A variable that contains no credential.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.context.environment.variable(name)
    }
}

/// A permanent failure to get credentials. The next way is not tried, because it could have another identity.
pub fn denied(message: impl Into<String>) -> ProviderError {
    ProviderError::new(ErrorKind::Denied, message.into())
}

/// Reads a token's file. It is read again at each use, because its content changes.
pub fn token_file(path: &str, context: &Context) -> Result<SecretValue, ProviderError> {
    Credential::File(path.into()).read("token", context)
}
