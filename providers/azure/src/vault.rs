//! One vault: the SDK's client for it, and the challenge that names the token that it requires.

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
use crate::session::{ForeignChallenge, Guarded, IssuedToken, Session, TokenNeeded};
use crate::wire::{self, Wire};

/// A vault.
pub struct Vault {
    /// Its name and address.
    address: Address,
    client: SecretClient,
    challenge: Arc<Once<Challenge>>,
    guarded: Arc<Guarded>,
}

/// The reason for which a secret was not read.
pub enum Unread {
    /// There is no token for this resource yet.
    TokenNeeded(String),
    /// The vault does not accept the token.
    TokenRefused(ProviderError),
    /// Any other reason.
    Other(ProviderError),
}

impl Unread {
    /// The error of the attempt.
    pub fn into_error(self, attempt: &Attempt<'_>) -> ProviderError {
        match self {
            Self::TokenRefused(error) | Self::Other(error) => error,
            // The session had a token a moment before.
            Self::TokenNeeded(_) => attempt.failure(ErrorKind::Unavailable, "there is no token for the vault any more"),
        }
    }
}

/// A vault's response to a request without a token.
#[derive(Clone)]
pub struct Challenge {
    /// The header's text.
    text: String,
    /// The tenant whose tokens the vault accepts, if the challenge names it.
    tenant: Option<String>,
}

/// Sends the SDK's requests to a vault. The SDK first sends each request without a token, to get a challenge. Only the first of
/// these is sent, and the others get the same challenge, so that many secrets need only one such request.
struct Transport {
    wire: Wire,
    challenge: Arc<Once<Challenge>>,
    place: String,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transport")
    }
}

#[async_trait]
impl HttpClient for Transport {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        if request.headers().get_optional_str(&AUTHORIZATION).is_none() {
            let challenge =
                self.challenge.get(|_| true, self.request_challenge(request)).await.map_err(wire::wrapped)?;
            return Ok(wire::challenge(challenge.text));
        }
        let response = self.wire.send_sdk(request).await.map_err(wire::wrapped)?;
        match response.is_success() {
            true => Ok(wire::to_sdk_response(response)),
            false => Err(wire::wrapped(Refusal::of(&response))),
        }
    }
}

impl Transport {
    async fn request_challenge(&self, request: &Request) -> Result<Challenge, ProviderError> {
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
    // A message may show it, so only an id is accepted.
    let is_id = tenant.len() == 36 && tenant.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    is_id.then(|| tenant.to_ascii_lowercase())
}

impl Vault {
    /// A vault that has got no request yet. `resource` is the resource of the cloud's tokens. With `check`, a challenge for
    /// another resource is refused, also by the SDK. Without it, the vault may also require a token for its own address.
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
        let transport = Transport { wire, challenge: challenge.clone(), place };
        let options = SecretClientOptions {
            client_options: wire::options(Arc::new(transport)),
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

    /// The last token that was sent to it, if there is one.
    pub fn last_token(&self) -> Option<IssuedToken> {
        self.guarded.last_token()
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

    /// A deleted secret, if it can be recovered.
    pub async fn deleted(&self, secret: &str) -> Option<DeletedSecret> {
        self.client.get_deleted_secret(secret, None).await.ok()?.into_model().ok()
    }

    async fn failure(&self, error: &azure_core::Error, attempt: &Attempt<'_>) -> Unread {
        if let Some(TokenNeeded(resource)) = wire::unwrapped(error) {
            return Unread::TokenNeeded(resource.clone());
        }
        if let Some(ours) = wire::unwrapped::<ProviderError>(error) {
            return Unread::Other(ours.once_more());
        }
        if let Some(refusal) = wire::unwrapped::<Refusal>(error) {
            let challenge = self.challenge.known().await;
            let tenant = challenge.as_ref().and_then(|challenge| challenge.tenant.as_deref());
            let explained = refusal.explain(attempt, tenant);
            return if refusal.is_of_token() { Unread::TokenRefused(explained) } else { Unread::Other(explained) };
        }
        // All other errors are about the challenge: the SDK checks the domain of its resource, and `Guarded` the whole resource.
        let is_foreign = wire::unwrapped::<ForeignChallenge>(error).is_some();
        Unread::Other(match error.kind() {
            azure_core::error::ErrorKind::DataConversion if !is_foreign => {
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
    fn a_challenge_names_its_tenant() {
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
