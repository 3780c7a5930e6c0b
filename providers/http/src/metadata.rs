//! Metadata services, where a cloud offers credentials to a machine, a container or a pod at a local address.

use std::time::Duration;

use handfast_core::{Context, ErrorKind, ProviderError};

use crate::address::Plaintext;
use crate::client::Client;
use crate::options::Options;
use crate::response::Response;

/// How long to wait for a metadata service. Outside the cloud, a connection to its address often gets no response at all.
pub struct TimeLimits {
    /// The time limit for a connection.
    pub connect: Duration,
    /// The time limit for a whole response.
    pub total: Duration,
}

impl TimeLimits {
    /// This limit for the connection, and the default limit for the response.
    pub fn connecting(connect: Duration) -> Self {
        Self { connect, total: Options::default().total_timeout }
    }

    /// The same limit for the connection and for the whole response.
    pub fn of(total: Duration) -> Self {
        Self { connect: total, total }
    }
}

/// A client of metadata services. It uses no proxy. It sends unencrypted requests to the addresses that `plaintext` allows, since
/// these services do not offer TLS, and their traffic does not leave the machine's host.
pub fn client(limits: TimeLimits, plaintext: Plaintext, context: &Context) -> Result<Client, ProviderError> {
    let defaults = Options::default();
    let options = Options {
        plaintext,
        connect_timeout: limits.connect,
        idle_timeout: defaults.idle_timeout.min(limits.total),
        total_timeout: limits.total,
        ..defaults
    };
    Client::new(options, context)
}

/// The failure for a response without success: the service is busy at the moment, or it has no identity for this machine.
pub fn refusal(response: &Response, attempted: &str) -> ProviderError {
    let kind = match response.status() {
        // 410: the machine will soon have an identity.
        408 | 410 | 429 | 500.. => ErrorKind::Unavailable,
        _ => ErrorKind::Denied,
    };
    ProviderError { kind, ..response.failure(attempted) }
}
