//! Metadata services: what the clouds give a machine, a container or a pod at an address that only it reaches.

use std::time::Duration;

use handfast_core::{Context, ErrorKind, ProviderError};

use crate::address::Plaintext;
use crate::client::Client;
use crate::options::Options;
use crate::response::Response;

/// How long to wait for a metadata service. Where there is none, often nobody refuses the connection.
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For a whole answer.
    pub total: Duration,
}

impl Patience {
    /// As long as for any other server, but for the connection.
    pub fn connecting(connect: Duration) -> Self {
        Self { connect, total: Options::default().total_timeout }
    }

    /// The same for a connection and for the whole answer.
    pub fn of(total: Duration) -> Self {
        Self { connect: total, total }
    }
}

/// A client of metadata services. It speaks clear text to the addresses that `plaintext` allows, since the services speak
/// nothing else and the link to them does not leave the machine's host, and it uses no proxy.
pub fn client(patience: Patience, plaintext: Plaintext, context: &Context) -> Result<Client, ProviderError> {
    let defaults = Options::default();
    let options = Options {
        plaintext,
        connect_timeout: patience.connect,
        idle_timeout: defaults.idle_timeout.min(patience.total),
        total_timeout: patience.total,
        ..defaults
    };
    Client::new(options, context)
}

/// What an answer that is no success means: that the service is busy for now, or that there is no identity to be had.
pub fn refusal(response: &Response, attempted: &str) -> ProviderError {
    let kind = match response.status() {
        // 410: a machine that is given an identity a moment from now.
        408 | 410 | 429 | 500.. => ErrorKind::Unavailable,
        _ => ErrorKind::Denied,
    };
    ProviderError { kind, ..response.failure(attempted) }
}
