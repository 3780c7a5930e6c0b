//! The shape that all of Vault's answers have (developer.hashicorp.com/vault/api-docs, "API operations").

use std::time::Duration;

use handfast_core::{ErrorKind, ProviderError, SecretValue};
use handfast_http::Response;
use serde::Deserialize;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

/// An answer with what is used of it; its data still as text. vaultrs' own type drops the lease.
#[derive(Deserialize)]
pub struct Answer<'a> {
    /// What was asked for.
    #[serde(borrow, default)]
    pub data: Option<&'a RawValue>,
    /// The lease of a dynamic secret.
    #[serde(default)]
    lease_id: String,
    #[serde(default)]
    lease_duration: u64,
    #[serde(default)]
    renewable: bool,
    /// The token of a login.
    #[serde(default)]
    pub auth: Option<Auth>,
}

/// How long a dynamic secret lives.
pub struct Lease {
    /// What revokes it.
    pub id: String,
    /// How long it lives from now.
    pub duration: Duration,
    /// Whether it can be renewed.
    pub renewable: bool,
}

/// What a login gives.
#[derive(Deserialize)]
pub struct Auth {
    client_token: Zeroizing<String>,
    /// Seconds; 0 for a token that does not end.
    #[serde(default)]
    lease_duration: u64,
    /// "service", or "batch": such a token is stored nowhere, so that nothing can end it before its time.
    #[serde(default)]
    token_type: String,
    #[serde(default)]
    renewable: bool,
}

impl Answer<'_> {
    /// The lease, where there is one.
    pub fn lease(&self) -> Option<Lease> {
        let (duration, renewable) = (Duration::from_secs(self.lease_duration), self.renewable);
        (!self.lease_id.is_empty()).then(|| Lease { id: self.lease_id.clone(), duration, renewable })
    }
}

impl Auth {
    /// The token.
    pub fn token(&self) -> SecretValue {
        SecretValue::from(self.client_token.as_bytes().to_vec())
    }

    /// Whether Vault can end the token before its time.
    pub fn can_be_revoked(&self) -> bool {
        self.token_type != "batch"
    }

    /// Whether the token can be renewed.
    pub fn renewable(&self) -> bool {
        self.renewable
    }

    /// How long the token lives from now, where it ends at all.
    pub fn duration(&self) -> Option<Duration> {
        Some(Duration::from_secs(self.lease_duration)).filter(|duration| !duration.is_zero())
    }
}

/// Reads an answer of Vault's as `T`.
pub fn of<'a, T: Deserialize<'a>>(response: &'a Response, what: &str) -> Result<T, ProviderError> {
    read("Vault's answer", response, what).map_err(|error| {
        error.hint("something that is not Vault may answer at this address, such as a proxy or a login page")
    })
}

/// Reads an answer, whose name is `whose`, as `T`. The error has the place and nothing of what stands there: the library's
/// own text may quote it.
pub fn read<'a, T: Deserialize<'a>>(whose: &str, response: &'a Response, what: &str) -> Result<T, ProviderError> {
    serde_json::from_slice(response.body().expose()).map_err(|error| {
        let why = match error.classify() {
            serde_json::error::Category::Eof => "it ends early",
            serde_json::error::Category::Data => "it is not what its interface promises",
            _ => "it is not JSON",
        };
        let place = format!("line {} column {}", error.line(), error.column());
        ProviderError::new(ErrorKind::Malformed, format!("{what}: {whose} cannot be read: {why}, at {place}"))
    })
}
