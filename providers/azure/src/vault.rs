//! One vault: the SDK's client of it, and the challenge that says which token it wants.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use azure_core::http::headers::AUTHORIZATION;
use azure_core::http::{AsyncRawResponse, HttpClient, Request};
use azure_security_keyvault_secrets::models::{DeletedSecret, Secret, SecretClientGetSecretOptions};
use azure_security_keyvault_secrets::{SecretClient, SecretClientOptions};
use handfast_core::{ErrorKind, ProviderError};
use handfast_http::Once;

use crate::cloud::Address;
use crate::explain::{self, Attempt, Refusal};
use crate::session::{Elsewhere, Given, Guarded, Session, Wanted};
use crate::wire::{self, Wire};

/// A vault.
pub struct Vault {
    /// Its name and address.
    address: Address,
    client: SecretClient,
    challenge: Arc<Once<Challenge>>,
    guarded: Arc<Guarded>,
}

/// Why a secret was not read.
pub enum Unread {
    /// For want of a token for this resource.
    Wanted(String),
    /// The vault does not take the token.
    Token(ProviderError),
    /// For any other reason.
    Other(ProviderError),
}

impl Unread {
    /// The same of what was attempted.
    pub fn explained(self, attempt: &Attempt<'_>) -> ProviderError {
        match self {
            Self::Token(error) | Self::Other(error) => error,
            // The session had one a moment before.
            Self::Wanted(_) => attempt.failure(ErrorKind::Unavailable, "there is no token for the vault any more"),
        }
    }
}

/// What a vault says to a request without a token.
#[derive(Clone)]
pub struct Challenge {
    /// As it came.
    text: String,
    /// The tenant whose tokens it takes, where it says so.
    tenant: Option<String>,
}

/// The SDK's way to a vault. The SDK sends the first request of each reader without a token, to be challenged: the first of all
/// is, and the others are told what it was told, so that a hundred secrets cost one such request.
struct Door {
    wire: Wire,
    challenge: Arc<Once<Challenge>>,
    place: String,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Door")
    }
}

#[async_trait]
impl HttpClient for Door {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        if request.headers().get_optional_str(&AUTHORIZATION).is_none() {
            let challenge = self.challenge.get(|_| true, self.ask(request)).await.map_err(wire::wrapped)?;
            return Ok(wire::challenge(challenge.text));
        }
        let response = self.wire.send_sdk(request).await.map_err(wire::wrapped)?;
        match response.is_success() {
            true => Ok(wire::answered(response)),
            false => Err(wire::wrapped(Refusal::of(&response))),
        }
    }
}

impl Door {
    async fn ask(&self, request: &Request) -> Result<Challenge, ProviderError> {
        let response = self.wire.send_sdk(request).await?;
        let challenge = response.header("www-authenticate").filter(|_| response.status() == 401);
        match challenge {
            Some(text) => Ok(Challenge { text: text.to_owned(), tenant: tenant(text) }),
            None if response.is_success() => {
                let why = format!("it answered {} to a request without a token, and asks for none", response.status());
                let message = format!("cannot ask {}: {why}", self.place);
                Err(ProviderError::new(ErrorKind::Malformed, message).hint(explain::ELSEWHERE))
            }
            None => Err(Refusal::of(&response).of_vault(&self.place)),
        }
    }
}

/// The tenant of a challenge: `authorization="https://login.microsoftonline.com/<tenant>"`.
fn tenant(challenge: &str) -> Option<String> {
    let (_, rest) = challenge.split_once("authorization=\"")?;
    let tenant = rest.split('"').next()?.rsplit('/').next()?;
    // It may be shown: nothing but an id gets through.
    let is_id = tenant.len() == 36 && tenant.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    is_id.then(|| tenant.to_ascii_lowercase())
}

impl Vault {
    /// A vault that has not been asked yet. `resource` is what the cloud's tokens are for; where `check` is on, a challenge for
    /// anything else is refused, by the SDK too; else the vault may also ask for a token for itself.
    pub fn new(
        address: Address,
        resource: String,
        check: bool,
        session: &Session,
        wire: Wire,
    ) -> Result<Self, ProviderError> {
        let challenge = Arc::new(Once::default());
        let place = address.url.origin().ascii_serialization();
        let mut resources = vec![resource];
        if !check {
            resources.push(place.clone());
        }
        let door = Door { wire, challenge: challenge.clone(), place };
        let options = SecretClientOptions {
            client_options: wire::options(Arc::new(door)),
            verify_challenge_resource: Some(check),
            ..SecretClientOptions::default()
        };
        let guarded = Arc::new(session.guarded(resources));
        let client = SecretClient::new(address.url.as_str(), guarded.clone(), Some(options)).map_err(|_| {
            ProviderError::new(
                ErrorKind::Malformed,
                format!("the vault `{}` has no address it could have", address.name),
            )
        })?;
        Ok(Self { address, client, challenge, guarded })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.address.name
    }

    /// Its name and address.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The token that it is shown, once there is one.
    pub fn given(&self) -> Option<Given> {
        self.guarded.given()
    }

    /// Reads a secret.
    pub async fn read(&self, attempt: &Attempt<'_>, version: Option<&str>) -> Result<Secret, Unread> {
        let secret_version = version.map(str::to_owned);
        let options = SecretClientGetSecretOptions { secret_version, ..SecretClientGetSecretOptions::default() };
        match self.client.get_secret(attempt.secret, Some(options)).await {
            Ok(response) => response.into_model().map_err(|_| Unread::Other(attempt.malformed())),
            Err(error) => Err(self.failure(&error, attempt).await),
        }
    }

    /// What is left of a secret that was deleted, where anything is.
    pub async fn deleted(&self, secret: &str) -> Option<DeletedSecret> {
        self.client.get_deleted_secret(secret, None).await.ok()?.into_model().ok()
    }

    async fn failure(&self, error: &azure_core::Error, attempt: &Attempt<'_>) -> Unread {
        if let Some(Wanted(resource)) = wire::unwrapped(error) {
            return Unread::Wanted(resource.clone());
        }
        if let Some(ours) = wire::unwrapped::<ProviderError>(error) {
            return Unread::Other(ours.once_more());
        }
        if let Some(refusal) = wire::unwrapped::<Refusal>(error) {
            let challenge = self.challenge.known().await;
            let tenant = challenge.as_ref().and_then(|challenge| challenge.tenant.as_deref());
            let explained = refusal.explain(attempt, tenant);
            return if refusal.is_of_token() { Unread::Token(explained) } else { Unread::Other(explained) };
        }
        // What is left is about the challenge: of whatever it asks for, the SDK checks the domain, and we the whole.
        let is_elsewhere = wire::unwrapped::<Elsewhere>(error).is_some();
        Unread::Other(match error.kind() {
            azure_core::error::ErrorKind::DataConversion if !is_elsewhere => {
                attempt.failure(ErrorKind::Malformed, "the vault's challenge cannot be read").hint(explain::ELSEWHERE)
            }
            _ => attempt
                .failure(ErrorKind::Untrusted, "the vault asks for a token for something else than Key Vault in this cloud, which it does not get")
                .hint("look at the address and at `cloud`: whoever has such a token can use it in the place of who sent it"),
        })
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_challenge_tells_its_tenant() {
        let id = "11111111-2222-3333-4444-55555555abcd";
        let of = |tenant: &str| {
            super::tenant(&format!(
                "Bearer authorization=\"https://login.microsoftonline.com/{tenant}\", resource=\"https://vault.azure.net\""
            ))
        };
        assert_eq!(of(id).as_deref(), Some(id));
        assert_eq!(of("common"), None);
        assert_eq!(of("11111111-2222-3333-4444-55555555\u{1b}[0m"), None);
        assert_eq!(super::tenant("Bearer"), None);
    }
}
