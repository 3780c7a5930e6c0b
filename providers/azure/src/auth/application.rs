//! Tokens of an application, with the SDK's own credentials: a client secret or an assertion.

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
use super::connections::Connections;
use super::method::Application;
use super::reasons;
use crate::wire::{self, Wire};

/// Sends the SDK's requests to Entra ID. Makes the errors for refusals, because the SDK drops the response.
struct Entra {
    wire: Wire,
    attempted: String,
    /// The kind of credential, for a hint.
    proof: reasons::Proof,
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
                Ok(wire::to_sdk_response(response))
            }
            false => {
                let now = self.clock.now();
                let error = reasons::explain(&response, &self.attempted, &self.proof, &self.grace, now);
                Err(wire::wrapped(error))
            }
        }
    }
}

/// The credential for a client secret.
pub fn by_secret(
    application: &Application,
    secret: &Credential,
    connections: &Connections,
) -> Result<Arc<dyn TokenCredential>, ProviderError> {
    let secret = Secret::new(secret.text("client secret", &connections.context)?.to_string());
    let options =
        ClientSecretCredentialOptions { client_options: options(application, reasons::Proof::Secret, connections)? };
    let credential =
        ClientSecretCredential::new(&application.tenant, application.client.clone(), secret, Some(options));
    credential.map(|credential| credential as Arc<dyn TokenCredential>).map_err(|_| invalid_name(application))
}

/// The credential for a client certificate.
pub fn by_certificate(
    application: &Application,
    files: &Files,
    connections: &Connections,
) -> Result<Arc<dyn TokenCredential>, ProviderError> {
    let endpoint = connections.authority.join(&format!("/{}/oauth2/v2.0/token", application.tenant));
    let endpoint = endpoint.map_err(|_| invalid_name(application))?;
    let signer = certificate::signer(files, &application.client, endpoint, &connections.context)?;
    by_assertion(
        application,
        Assertion::Signed(Box::new(signer)),
        reasons::Proof::Certificate(files.certificate.clone()),
        connections,
    )
}

/// The credential for a token of the cluster. The SDK's own credential is not used, because it reads the file itself.
pub fn by_workload(
    application: &Application,
    token: &Credential,
    connections: &Connections,
) -> Result<Arc<dyn TokenCredential>, ProviderError> {
    let text = token.text("federated token", &connections.context)?;
    let path = match token {
        Credential::File(path) => path.clone(),
        _ => Default::default(),
    };
    if let Some(ago) = expired(&text, &connections.context) {
        let message = format!("cannot use the federated token of `{}`: it expired {ago} s ago", path.display());
        return Err(ProviderError::new(ErrorKind::Denied, message)
            .hint("the kubelet renews it as long as the pod runs; look at this machine's clock too"));
    }
    by_assertion(application, Assertion::Token(text), reasons::Proof::Federated(path), connections)
}

fn by_assertion(
    application: &Application,
    assertion: Assertion,
    proof: reasons::Proof,
    connections: &Connections,
) -> Result<Arc<dyn TokenCredential>, ProviderError> {
    let options = ClientAssertionCredentialOptions { client_options: options(application, proof, connections)? };
    let (tenant, client) = (application.tenant.clone(), application.client.clone());
    let credential = ClientAssertionCredential::new(tenant, client, assertion, Some(options));
    credential.map(|credential| credential as Arc<dyn TokenCredential>).map_err(|_| invalid_name(application))
}

fn options(
    application: &Application,
    proof: reasons::Proof,
    connections: &Connections,
) -> Result<ClientOptions, ProviderError> {
    let attempted = format!(
        "cannot get a token of Entra ID for the application `{}` of `{}`",
        application.client, application.tenant
    );
    let mut cloud = CustomConfiguration::default();
    // Always set, because the SDK would read AZURE_AUTHORITY_HOST itself otherwise.
    cloud.authority_host = connections.authority.to_string();
    Ok(ClientOptions {
        cloud: Some(Arc::new(CloudConfiguration::Custom(cloud))),
        ..wire::options(Arc::new(Entra {
            wire: connections.entra()?,
            attempted,
            proof,
            grace: connections.grace.clone(),
            clock: connections.context.clock.clone(),
        }))
    })
}

/// The error if the SDK refuses the tenant or the application's id.
fn invalid_name(application: &Application) -> ProviderError {
    let Application { tenant, client } = application;
    let message =
        format!("cannot get a token of Entra ID: the application `{client}` of `{tenant}` has no name it could have");
    ProviderError::new(ErrorKind::Denied, message)
}

/// How many seconds ago a signed token expired, if it has. If its expiry cannot be read, Entra ID decides.
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

/// The assertion that replaces a client secret.
enum Assertion {
    Token(Zeroizing<String>),
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
            Assertion::Token(text) => Ok(text.to_string()),
            Assertion::Signed(signer) => signer.assertion().map_err(wire::wrapped),
        }
    }
}
