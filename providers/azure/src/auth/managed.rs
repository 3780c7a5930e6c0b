//! Managed identities. The SDK's own credential is not used: it reads the variables of the process, sends resource ids to App
//! Service under the wrong name, and waits for a long time if there is no such service.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, Secret, TokenCredential, TokenRequestOptions};
use handfast_core::{Clock, ErrorKind, ProviderError, SecretValue};
use handfast_http::{Request, Response, Url, metadata};
use serde::Deserialize;

use super::connections::Connections;
use crate::wire::{self, Wire};

/// The identity to use, if there are several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The system-assigned identity, or the only identity.
    Own,
    /// A user-assigned identity, by its client id.
    Client(String),
    /// A user-assigned identity, by its object id.
    Object(String),
    /// A user-assigned identity, by its resource id.
    Resource(String),
}

/// The address of a machine's metadata service.
pub enum Machine {
    /// The address on every machine of Azure.
    Default,
    /// The address in AZURE_POD_IDENTITY_AUTHORITY_HOST.
    At(Url),
}

/// The address on every machine (learn.microsoft.com/azure/virtual-machines/instance-metadata-service).
const DEFAULT_ORIGIN: &str = "http://169.254.169.254";

/// A service that issues tokens.
struct Service {
    wire: Wire,
    clock: Arc<dyn Clock>,
    url: Url,
    /// The header that the service requires, because a web page or a server with a request forgery flaw cannot send it.
    header: (&'static str, Secret),
    /// The parameters of the identity.
    identity: Option<(&'static str, String)>,
    api_version: &'static str,
    /// Its description in a message.
    what: String,
    /// If no setting names the service: the methods that were skipped, and a client with a short time limit to find out whether
    /// the service exists.
    guess: Option<(Vec<String>, Wire)>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Service")
    }
}

/// App Service, Container Apps and Functions (learn.microsoft.com/azure/app-service/overview-managed-identity).
pub fn app_service(
    endpoint: &Url,
    identity: &Identity,
    connections: &Connections,
) -> Result<Arc<dyn TokenCredential>, ProviderError> {
    let header = connections.context.environment.credential("IDENTITY_HEADER");
    let header = header.and_then(|value| String::from_utf8(value.expose().trim_ascii().to_vec()).ok());
    let Some(header) = header else {
        let message = "cannot get a token of the managed identity: IDENTITY_HEADER is not text";
        return Err(ProviderError::new(ErrorKind::Denied, message));
    };
    Ok(Arc::new(Service {
        wire: connections.metadata()?,
        clock: connections.context.clock.clone(),
        url: endpoint.clone(),
        header: ("x-identity-header", Secret::new(header)),
        identity: identity.parameter("principal_id", "mi_res_id"),
        api_version: "2019-08-01",
        what: format!("the managed identity{identity} of IDENTITY_ENDPOINT"),
        guess: None,
    }))
}

/// The managed identity of a virtual machine, which is also available on AKS's nodes and pods
/// (learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token).
pub fn machine(
    machine: &Machine,
    identity: &Identity,
    skipped: Option<&[String]>,
    connections: &Connections,
) -> Result<Arc<dyn TokenCredential>, ProviderError> {
    let (mut url, place) = match machine {
        // Parsing this constant cannot fail.
        Machine::Default => {
            (Url::parse(DEFAULT_ORIGIN).unwrap_or_else(|_| connections.authority.clone()), DEFAULT_ORIGIN.to_owned())
        }
        Machine::At(url) => {
            let place = url.origin().ascii_serialization();
            (url.clone(), place)
        }
    };
    url.set_path("/metadata/identity/oauth2/token");
    let probe = skipped.is_some().then(|| connections.probe()).transpose()?;
    Ok(Arc::new(Service {
        wire: connections.metadata()?,
        clock: connections.context.clock.clone(),
        url,
        header: ("metadata", Secret::new("true")),
        identity: identity.parameter("object_id", "msi_res_id"),
        api_version: "2018-02-01",
        what: format!("the managed identity{identity} of this machine, from {place}"),
        guess: skipped.map(<[String]>::to_vec).zip(probe),
    }))
}

impl Identity {
    fn parameter(&self, object: &'static str, resource: &'static str) -> Option<(&'static str, String)> {
        match self {
            Identity::Own => None,
            Identity::Client(id) => Some(("client_id", id.clone())),
            Identity::Object(id) => Some((object, id.clone())),
            Identity::Resource(id) => Some((resource, id.clone())),
        }
    }
}

impl fmt::Display for Identity {
    /// The text after "the managed identity" in a message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identity::Own => Ok(()),
            Identity::Client(id) | Identity::Object(id) | Identity::Resource(id) => {
                write!(f, " `{}`", id.escape_debug())
            }
        }
    }
}

#[async_trait]
impl TokenCredential for Service {
    async fn get_token(&self, scopes: &[&str], _: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
        let scope = scopes.first().copied().unwrap_or_default();
        let resource = scope.strip_suffix("/.default").unwrap_or(scope);
        self.token(resource).await.map_err(wire::wrapped)
    }
}

impl Service {
    async fn token(&self, resource: &str) -> Result<AccessToken, ProviderError> {
        if let Some((skipped, probe)) = &self.guess
            // Any response shows that there is a service. Without its header, it issues no token.
            && let Err(error) = probe.send(Request::get(self.url.clone())).await
        {
            return Err(no_credential(skipped, &error.message));
        }
        let attempted = format!("cannot get a token of {}", self.what);
        let mut url = self.url.clone();
        let mut query = vec![("api-version", self.api_version), ("resource", resource)];
        query.extend(self.identity.as_ref().map(|(name, id)| (*name, id.as_str())));
        url.query_pairs_mut().extend_pairs(query);
        let (name, value) = &self.header;
        let request = Request::get(url).secret_header(name, SecretValue::from(value.secret().as_bytes().to_vec()))?;
        let response = self.wire.send(request).await.map_err(|error| error.context(&attempted))?;
        match response.status() {
            200 => self.read(&response, &attempted),
            _ => Err(self.refused(&response, &attempted)),
        }
    }

    fn refused(&self, response: &Response, attempted: &str) -> ProviderError {
        let error = match response.status() {
            // If no setting names the service, another program may be at its address.
            404 if self.guess.is_some() => ProviderError { kind: ErrorKind::Denied, ..response.failure(attempted) },
            // A machine that will soon have an identity responds with 404 first, then with 410.
            404 => ProviderError { kind: ErrorKind::Unavailable, ..response.failure(attempted) },
            400 => {
                let which = match self.identity {
                    Some(_) => "this one is not assigned to what this runs on",
                    None => "none is assigned to what this runs on, or several are",
                };
                ProviderError::new(ErrorKind::Denied, format!("{attempted}: {which}")).hint(
                    "assign one; of several, `client_id`, `object_id` or `resource_id` of `auth` or AZURE_CLIENT_ID says which",
                )
            }
            _ => metadata::refusal(response, attempted),
        };
        match &self.guess {
            Some((skipped, _)) if error.kind == ErrorKind::Denied => no_credential(skipped, &error.message),
            _ => error,
        }
    }

    fn read(&self, response: &Response, attempted: &str) -> Result<AccessToken, ProviderError> {
        #[derive(Deserialize)]
        struct Token {
            access_token: String,
            expires_on: Number,
        }
        /// Most versions of the service send a text.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Number {
            Text(String),
            Number(u64),
        }
        let wrong = || {
            let why = "the answer is not what its interface promises";
            ProviderError::new(ErrorKind::Malformed, format!("{attempted}: {why}"))
        };
        let Token { access_token, expires_on } =
            serde_json::from_slice(response.body().expose()).map_err(|_| wrong())?;
        let ends = match expires_on {
            Number::Number(seconds) => Some(seconds),
            Number::Text(text) => text.parse().ok(),
        };
        let ends = match ends {
            Some(seconds) => SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).ok_or_else(wrong)?,
            // Some versions of App Service send a date here. All its tokens are valid for more than an hour.
            None => self.clock.now() + Duration::from_secs(3600),
        };
        Ok(AccessToken::new(Secret::new(access_token), ends.into()))
    }
}

/// The error if no setting names an identity, and the machine has none.
fn no_credential(skipped: &[String], machine: &str) -> ProviderError {
    let message = format!(
        "nothing to get a token of Entra ID with: {}; managed-identity of this machine: {machine}",
        skipped.join("; "),
    );
    ProviderError::new(ErrorKind::Denied, message)
        .hint("`auth = { method = \"managed-identity\" }` in [providers.azure] asks for that alone, and waits until it answers")
}
