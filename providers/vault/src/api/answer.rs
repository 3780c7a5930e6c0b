//! The form of all of Vault's responses (developer.hashicorp.com/vault/api-docs, "API operations").

use std::time::Duration;

use handfast_core::{ErrorKind, ProviderError, SecretValue};
use handfast_http::Response;
use serde::Deserialize;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

/// A response, with the fields that handfast uses. Its data stay text. vaultrs' own type has no lease.
#[derive(Deserialize)]
pub struct Answer<'a> {
    /// The requested data.
    #[serde(borrow, default)]
    pub data: Option<&'a RawValue>,
    /// The lease of a dynamic secret: its id, empty if there is none.
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

/// The lease of a dynamic secret.
pub struct Lease {
    /// The id, to renew or revoke it.
    pub id: String,
    /// The remaining lifetime.
    pub duration: Duration,
    /// Whether it can be renewed.
    pub renewable: bool,
}

/// The result of a login.
#[derive(Deserialize)]
pub struct Auth {
    client_token: Zeroizing<String>,
    /// In seconds; 0 for a token that does not expire.
    #[serde(default)]
    lease_duration: u64,
    /// "service" or "batch". Vault does not store a batch token, so it cannot be revoked.
    #[serde(default)]
    token_type: String,
    #[serde(default)]
    renewable: bool,
}

impl Answer<'_> {
    /// The lease, if there is one.
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

    /// Whether Vault can revoke the token.
    pub fn can_be_revoked(&self) -> bool {
        self.token_type != "batch"
    }

    /// Whether the token can be renewed.
    pub fn renewable(&self) -> bool {
        self.renewable
    }

    /// The remaining lifetime of the token, if it expires.
    pub fn duration(&self) -> Option<Duration> {
        Some(Duration::from_secs(self.lease_duration)).filter(|duration| !duration.is_zero())
    }
}

/// Parses a response of Vault.
pub fn of<'a, T: Deserialize<'a>>(response: &'a Response, what: &str) -> Result<T, ProviderError> {
    read("Vault's answer", response, what).map_err(|error| {
        error.hint("something that is not Vault may answer at this address, such as a proxy or a login page")
    })
}

/// Parses a response; `whose` names it in the error. The error has only the position of the fault in the text, because the
/// library's own error may quote the text.
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
