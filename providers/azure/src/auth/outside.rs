//! What the ways to a token take from the outside.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use handfast_core::{Context, Grace, ProviderError};
use handfast_http::metadata::{self, TimeLimits};
use handfast_http::{Client, Options, Plaintext, Url};

use crate::wire::Wire;

/// What getting a token takes from the outside.
pub struct Outside {
    /// Where Entra ID is.
    pub authority: Url,
    /// How it is asked.
    pub options: Options,
    /// Files, variables, the clock.
    pub context: Context,
    /// Counts what is sent.
    pub requests: Arc<AtomicU64>,
    /// Since when Entra ID has not known a federated credential.
    pub grace: Arc<Grace>,
}

impl Outside {
    /// A way to Entra ID.
    pub fn entra(&self) -> Result<Wire, ProviderError> {
        Ok(Wire::new(Client::new(self.options.clone(), &self.context)?, self.requests.clone()))
    }

    /// A way to a metadata service.
    pub fn metadata(&self) -> Result<Wire, ProviderError> {
        self.metadata_within(TimeLimits::connecting(Duration::from_secs(2)))
    }

    /// The same to learn whether there is one: where there is none, often nobody refuses the connection.
    pub fn probe(&self) -> Result<Wire, ProviderError> {
        self.metadata_within(TimeLimits::of(Duration::from_secs(1)))
    }

    fn metadata_within(&self, patience: TimeLimits) -> Result<Wire, ProviderError> {
        let client = metadata::client(patience, Plaintext::Metadata, &self.context)?;
        Ok(Wire::new(client, self.requests.clone()))
    }
}
