//! Tokens of an application, by Microsoft's own credentials: a client secret, or an assertion in its place.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{Secret, TokenCredential};
use azure_core::http::{AsyncRawResponse, ClientMethodOptions, ClientOptions, HttpClient, Request};
use azure_identity::{
    ClientAssertion, ClientAssertionCredential, ClientAssertionCredentialOptions, ClientSecretCredential,
    ClientSecretCredentialOptions,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use handfast_core::{Clock, Context, Credential, ErrorKind, Grace, ProviderError};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::certificate::{self, Files, Signer};
use super::method::Application;
use super::outside::Outside;
use super::refused;
use crate::wire::{self, Wire};

/// Entra ID behind the SDK's credentials. What it refuses is told here, where its answer still is one.
struct Entra {
    wire: Wire,
    attempted: String,
    /// Which setting has the credential, for a hint.
    proof: refused::Proof,
    grace: Arc<Grace>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Entra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entra")
    }
}

#[async_trait]
impl HttpClient for Entra {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let response = self.wire.send_sdk(request).await;
        let response = response.map_err(|error| wire::wrapped(error.context(&self.attempted)))?;
        match response.is_success() {
            true => {
                self.grace.reset();
                Ok(wire::answered(response))
            }
            false => {
                let now = self.clock.now();
                let error = refused::explain(&response, &self.attempted, &self.proof, &self.grace, now);
                Err(wire::wrapped(error))
            }
        }
    }
}

/// By a client secret.
pub fn by_secret(
    application: &Application,
    secret: &Credential,
    outside: &Outside,
) -> Result<Arc<dyn TokenCredential>, ProviderError> {
    let secret = Secret::new(secret.text("client secret", &outside.context)?.to_string());
    let options =
        ClientSecretCredentialOptions { client_options: options(application, refused::Proof::Secret, outside)? };
    let made = ClientSecretCredential::new(&application.tenant, application.client.clone(), secret, Some(options));
    made.map(|made| made as Arc<dyn TokenCredential>).map_err(|_| unfit(application))
}

/// By a certificate.
pub fn by_certificate(
    application: &Application,
    files: &Files,
    outside: &Outside,
) -> Result<Arc<dyn TokenCredential>, ProviderError> {
    let endpoint = outside.authority.join(&format!("/{}/oauth2/v2.0/token", application.tenant));
    let endpoint = endpoint.map_err(|_| unfit(application))?;
    let signer = certificate::signer(files, &application.client, endpoint, &outside.context)?;
    by_assertion(
        application,
        Assertion::Signed(Box::new(signer)),
        refused::Proof::Certificate(files.certificate.clone()),
        outside,
    )
}

/// By a token of the cluster, in a file that the SDK would read by itself.
pub fn by_workload(
    application: &Application,
    token: &Credential,
    outside: &Outside,
) -> Result<Arc<dyn TokenCredential>, ProviderError> {
    let text = token.text("federated token", &outside.context)?;
    let path = match token {
        Credential::File(path) => path.clone(),
        _ => Default::default(),
    };
    if let Some(ago) = expired(&text, &outside.context) {
        let message = format!("cannot use the federated token of `{}`: it expired {ago} s ago", path.display());
        return Err(ProviderError::new(ErrorKind::Denied, message)
            .hint("the kubelet renews it as long as the pod runs; look at this machine's clock too"));
    }
    by_assertion(application, Assertion::Given(text), refused::Proof::Federated(path), outside)
}

fn by_assertion(
    application: &Application,
    assertion: Assertion,
    proof: refused::Proof,
    outside: &Outside,
) -> Result<Arc<dyn TokenCredential>, ProviderError> {
    let options = ClientAssertionCredentialOptions { client_options: options(application, proof, outside)? };
    let (tenant, client) = (application.tenant.clone(), application.client.clone());
    let made = ClientAssertionCredential::new(tenant, client, assertion, Some(options));
    made.map(|made| made as Arc<dyn TokenCredential>).map_err(|_| unfit(application))
}

fn options(
    application: &Application,
    proof: refused::Proof,
    outside: &Outside,
) -> Result<ClientOptions, ProviderError> {
    let attempted = format!(
        "cannot get a token of Entra ID for the application `{}` of `{}`",
        application.client, application.tenant
    );
    let mut cloud = CustomConfiguration::default();
    // Said always: without it the SDK reads AZURE_AUTHORITY_HOST by itself.
    cloud.authority_host = outside.authority.to_string();
    Ok(ClientOptions {
        cloud: Some(Arc::new(CloudConfiguration::Custom(cloud))),
        ..wire::options(Arc::new(Entra {
            wire: outside.entra()?,
            attempted,
            proof,
            grace: outside.grace.clone(),
            clock: outside.context.clock.clone(),
        }))
    })
}

/// What the SDK does not take as a tenant or an application, and says so in its own words.
fn unfit(application: &Application) -> ProviderError {
    let Application { tenant, client } = application;
    let message =
        format!("cannot get a token of Entra ID: the application `{client}` of `{tenant}` has no name it could have");
    ProviderError::new(ErrorKind::Denied, message)
}

/// How many seconds ago a signed token ended, if it has. One that does not say it, or that cannot be read, is for Entra ID to
/// judge.
fn expired(token: &str, context: &Context) -> Option<u64> {
    #[derive(Deserialize)]
    struct Claims {
        exp: u64,
    }
    let claims = token.split('.').nth(1)?;
    let claims = Zeroizing::new(URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?);
    let Claims { exp } = serde_json::from_slice(&claims).ok()?;
    let now = context.clock.now().duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    now.checked_sub(exp)
}

/// What is shown instead of a secret.
enum Assertion {
    Given(Zeroizing<String>),
    Signed(Box<Signer>),
}

impl fmt::Debug for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Assertion")
    }
}

#[async_trait]
impl ClientAssertion for Assertion {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        match self {
            Assertion::Given(text) => Ok(text.to_string()),
            Assertion::Signed(signer) => signer.assertion().map_err(wire::wrapped),
        }
    }
}
