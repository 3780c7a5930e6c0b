//! The clients for Entra ID and the metadata services, which the login methods use.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use handfast_core::{Context, Grace, ProviderError};
use handfast_http::metadata::{self, TimeLimits};
use handfast_http::{Client, Options, Plaintext, Url};

use crate::wire::Wire;

/// The options and clients of the login methods.
pub struct Connections {
    /// The address of Entra ID.
    pub authority: Url,
    /// The options of the client for Entra ID.
    pub options: Options,
    /// The files, the variables and the clock.
    pub context: Context,
    /// The number of requests.
    pub requests: Arc<AtomicU64>,
    /// Since when Entra ID has not found a federated credential.
    pub grace: Arc<Grace>,
}

impl Connections {
    /// A client for Entra ID.
    pub fn entra(&self) -> Result<Wire, ProviderError> {
        Ok(Wire::new(Client::new(self.options.clone(), &self.context)?, self.requests.clone()))
    }

    /// A client for a metadata service.
    pub fn metadata(&self) -> Result<Wire, ProviderError> {
        self.metadata_within(TimeLimits::connecting(Duration::from_secs(2)))
    }

    /// A client to find out whether there is a metadata service. If there is none, a connection often gets no response at all.
    pub fn probe(&self) -> Result<Wire, ProviderError> {
        self.metadata_within(TimeLimits::of(Duration::from_secs(1)))
    }

    fn metadata_within(&self, limits: TimeLimits) -> Result<Wire, ProviderError> {
        let client = metadata::client(limits, Plaintext::Metadata, &self.context)?;
        Ok(Wire::new(client, self.requests.clone()))
    }
}
