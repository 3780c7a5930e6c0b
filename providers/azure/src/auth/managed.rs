//! Managed identities. Of Microsoft's own credential none of it can be used: it reads its variables from the process, sends
//! resource ids to App Service under the wrong name, and waits where there is no such service.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, Secret, TokenCredential, TokenRequestOptions};
use handfast_core::{Clock, ErrorKind, ProviderError, SecretValue};
use handfast_http::{Request, Response, Url, metadata};
use serde::Deserialize;

use super::outside::Outside;
use crate::wire::{self, Wire};

/// Which identity, where there are several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The system-assigned one, or the only one.
    Own,
    /// A user-assigned one by its client id.
    Client(String),
    /// By its object id.
    Object(String),
    /// By its resource id.
    Resource(String),
}

/// Where a machine's metadata service is.
pub enum Machine {
    /// Where every machine of Azure has it.
    Usual,
    /// Where AZURE_POD_IDENTITY_AUTHORITY_HOST says.
    At(Url),
}

/// The same on every machine (learn.microsoft.com/azure/virtual-machines/instance-metadata-service).
const USUAL: &str = "http://169.254.169.254";

/// The service that gives a token.
struct Service {
    wire: Wire,
    clock: Arc<dyn Clock>,
    url: Url,
    /// Which request it is: a page of a browser, or a server that was talked into it, does not send this.
    header: (&'static str, Secret),
    /// The parameters of the identity.
    identity: Option<(&'static str, String)>,
    api_version: &'static str,
    /// What it is, for a message.
    what: String,
    /// Where nobody has said that there is one: what was passed over, and how to find out with little patience.
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
    outside: &Outside,
) -> Result<Arc<dyn TokenCredential>, ProviderError> {
    let header = outside.context.environment.credential("IDENTITY_HEADER");
    let header = header.and_then(|value| String::from_utf8(value.expose().trim_ascii().to_vec()).ok());
    let Some(header) = header else {
        let message = "cannot get a token of the managed identity: IDENTITY_HEADER is not text";
        return Err(ProviderError::new(ErrorKind::Denied, message));
    };
    Ok(Arc::new(Service {
        wire: outside.metadata()?,
        clock: outside.context.clock.clone(),
        url: endpoint.clone(),
        header: ("x-identity-header", Secret::new(header)),
        identity: identity.parameter("principal_id", "mi_res_id"),
        api_version: "2019-08-01",
        what: format!("the managed identity{identity} of IDENTITY_ENDPOINT"),
        guess: None,
    }))
}

/// A virtual machine's, which AKS' nodes and pods have too
/// (learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token).
pub fn machine(
    machine: &Machine,
    identity: &Identity,
    passed_over: Option<&[String]>,
    outside: &Outside,
) -> Result<Arc<dyn TokenCredential>, ProviderError> {
    let (mut url, place) = match machine {
        // A constant, which is a URL.
        Machine::Usual => (Url::parse(USUAL).unwrap_or_else(|_| outside.authority.clone()), USUAL.to_owned()),
        Machine::At(url) => {
            let place = url.origin().ascii_serialization();
            (url.clone(), place)
        }
    };
    url.set_path("/metadata/identity/oauth2/token");
    let probe = passed_over.is_some().then(|| outside.probe()).transpose()?;
    Ok(Arc::new(Service {
        wire: outside.metadata()?,
        clock: outside.context.clock.clone(),
        url,
        header: ("metadata", Secret::new("true")),
        identity: identity.parameter("object_id", "msi_res_id"),
        api_version: "2018-02-01",
        what: format!("the managed identity{identity} of this machine, from {place}"),
        guess: passed_over.map(<[String]>::to_vec).zip(probe),
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
    /// Behind "the managed identity".
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
        if let Some((passed_over, probe)) = &self.guess
            // Any answer shows that there is one: without its header it gives no token.
            && let Err(error) = probe.send(Request::get(self.url.clone())).await
        {
            return Err(nothing(passed_over, &error.message));
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
            // Where nobody has said that there is one, what answers may be anything.
            404 if self.guess.is_some() => ProviderError { kind: ErrorKind::Denied, ..response.failure(attempted) },
            // A machine that is given an identity a moment from now has 404 first, then 410.
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
            Some((passed_over, _)) if error.kind == ErrorKind::Denied => nothing(passed_over, &error.message),
            _ => error,
        }
    }

    fn read(&self, response: &Response, attempted: &str) -> Result<AccessToken, ProviderError> {
        #[derive(Deserialize)]
        struct Token {
            access_token: String,
            expires_on: Number,
        }
        /// Text in most versions of the service.
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
            // App Service has had dates here. An hour is less than any of its tokens lives.
            None => self.clock.now() + Duration::from_secs(3600),
        };
        Ok(AccessToken::new(Secret::new(access_token), ends.into()))
    }
}

/// No setting names an identity, and the machine has none.
fn nothing(passed_over: &[String], machine: &str) -> ProviderError {
    let message = format!(
        "nothing to get a token of Entra ID with: {}; managed-identity of this machine: {machine}",
        passed_over.join("; "),
    );
    ProviderError::new(ErrorKind::Denied, message)
        .hint("`auth = { method = \"managed-identity\" }` in [providers.azure] asks for that alone, and waits until it answers")
}
