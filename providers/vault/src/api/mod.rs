//! Sends requests to Vault, and reads the responses.
//!
//! Some endpoints are vaultrs', the others are in `endpoints`. handfast-http sends the requests. vaultrs' own client is not used:
//! it has no limit for the size of a response, follows redirects with the token, drops the lease, puts responses into its errors
//! and panics on a token with a line break.

mod answer;
pub mod endpoints;
mod foreign;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use handfast_core::{Context, ErrorKind, ProviderError, SecretValue};
use handfast_http::{Client, Method, Options, Request, Response, Url};
use rustify::endpoint::Endpoint;
use rustify::enums::RequestMethod;
use serde::Deserialize;

use crate::explain;

pub use answer::{Answer, Lease, of, read};
pub use foreign::ELSEWHERE;

/// The client of one Vault server.
pub struct Api {
    client: RefCell<Rc<Client>>,
    /// The client's options, to make a new client when the files in them have changed.
    options: Options,
    context: Context,
    /// Whether the last request failed because one side did not trust the other.
    must_reload: Cell<bool>,
    address: Url,
    namespace: Option<String>,
    requests: Cell<u64>,
}

impl Api {
    /// A client of the server at `address`.
    pub fn new(
        options: Options,
        context: Context,
        address: Url,
        namespace: Option<String>,
    ) -> Result<Self, ProviderError> {
        let client = RefCell::new(Rc::new(Client::new(options.clone(), &context)?));
        let (must_reload, requests) = (Cell::new(false), Cell::new(0));
        Ok(Self { client, options, context, must_reload, address, namespace, requests })
    }

    /// Reads the client certificate again for a new login, because it may have expired since the start.
    pub fn reload_certificate(&self) -> Result<(), ProviderError> {
        if self.options.client_certificate.is_some() { self.reload() } else { Ok(()) }
    }

    fn reload(&self) -> Result<(), ProviderError> {
        let client = Client::new(self.options.clone(), &self.context)?;
        self.client.replace(Rc::new(client));
        self.must_reload.set(false);
        Ok(())
    }

    /// The number of requests so far.
    pub fn requests(&self) -> u64 {
        self.requests.get()
    }

    /// The namespace of every request.
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// Sends one request. A response with any status of Vault is a success.
    pub async fn send<E: Endpoint>(
        &self,
        endpoint: &E,
        token: Option<&SecretValue>,
    ) -> Result<Response, ProviderError> {
        let body = SecretValue::from(endpoint.body().map_err(unwritable)?.unwrap_or_default());
        let mut request = Request::new(method(&endpoint.method()), self.url(endpoint)?);
        if !body.is_empty() {
            request = request.body("application/json", body);
        }
        let response = self.exchange(request, token).await?;
        foreign::refuse(&response, self.address.scheme())?;
        match response.status() {
            501 | 503 => self.check_initialized(response).await,
            _ => Ok(response),
        }
    }

    /// The names below a path. Some proxies refuse the method LIST. The request is then repeated with GET, which Vault accepts
    /// too.
    pub async fn list(&self, path: &str, token: Option<&SecretValue>) -> Result<Response, ProviderError> {
        let endpoint = endpoints::List(path);
        let url = self.url(&endpoint)?;
        let response = self.exchange(Request::new(method(&endpoint.method()), url.clone()), token).await?;
        let refusal = match foreign::refuse(&response, self.address.scheme()) {
            Err(error) => error,
            Ok(()) if response.status() == 501 => response.failure(&format!("cannot list `{path}`")),
            Ok(()) if foreign::blocks(&response) => response.failure(&format!("cannot list `{path}`")),
            Ok(()) if response.status() == 503 => return self.check_initialized(response).await,
            Ok(()) => return Ok(response),
        };
        let mut by_get = url;
        by_get.set_query(Some("list=true"));
        let response = self.exchange(Request::get(by_get), token).await?;
        match foreign::refuse(&response, self.address.scheme()) {
            Ok(()) if response.status() == 503 => self.check_initialized(response).await,
            Ok(()) if response.status() != 501 && !foreign::blocks(&response) => Ok(response),
            _ => Err(refusal.hint("let the method LIST, or GET with `?list=true`, through to Vault")),
        }
    }

    async fn exchange(&self, mut request: Request, token: Option<&SecretValue>) -> Result<Response, ProviderError> {
        // Vault Agent and Vault Proxy can require this header, which a web page in a browser cannot send.
        request = request.header("x-vault-request", "true")?;
        if let Some(namespace) = &self.namespace {
            request = request.header("x-vault-namespace", namespace)?;
        }
        if let Some(token) = token {
            request = request.secret_header("x-vault-token", SecretValue::from(token.expose().to_vec()))?;
        }
        self.send_counted(request.with_standbys()).await
    }

    /// Sends a request. If one side did not trust the other the last time, reads the client certificate and the roots again
    /// first.
    async fn send_counted(&self, request: Request) -> Result<Response, ProviderError> {
        if self.must_reload.get() {
            self.reload()?;
        }
        self.requests.set(self.requests.get() + 1);
        let client = self.client.borrow().clone();
        let response = client.send(request).await;
        if response.as_ref().is_err_and(|error| matches!(error.kind, ErrorKind::Untrusted | ErrorKind::Denied)) {
            self.must_reload.set(true);
        }
        response
    }

    /// The error for a Vault that is not initialized. Such a Vault responds that it is sealed, or with 501, which a proxy may
    /// send too, so this sends a request for its status.
    async fn check_initialized(&self, response: Response) -> Result<Response, ProviderError> {
        let is_sealed = || explain::errors(&response).iter().any(|error| error.contains("Vault is sealed"));
        if response.status() != 501 && !is_sealed() {
            return Ok(response);
        }
        #[derive(Deserialize)]
        struct Status {
            initialized: bool,
        }
        let status = self.send_counted(Request::get(self.url(&endpoints::SealStatus)?)).await?;
        match serde_json::from_slice(status.body().expose()) {
            Ok(Status { initialized: false }) => {
                let message = format!("cannot ask {}: Vault is not initialized", status.peer());
                Err(ProviderError::new(ErrorKind::Unavailable, message).hint("`vault operator init` initializes it"))
            }
            _ => Ok(response),
        }
    }

    fn url<E: Endpoint>(&self, endpoint: &E) -> Result<Url, ProviderError> {
        let mut url = self.address.clone();
        // Some of vaultrs' paths start with a slash or a tab. A space at the end is part of a secret's name.
        let path = endpoint.path();
        let path = path.trim_start_matches(['/', '\t']);
        match url.path_segments_mut() {
            Ok(mut segments) => segments.pop_if_empty().push("v1").extend(path.split('/')),
            Err(()) => return Err(ProviderError::new(ErrorKind::Malformed, "the address cannot have a path")),
        };
        url.set_query(endpoint.query().map_err(unwritable)?.as_deref());
        Ok(url)
    }
}

/// The library's own error could quote the request.
fn unwritable(_: rustify::errors::ClientError) -> ProviderError {
    ProviderError::new(ErrorKind::Malformed, "the request cannot be written")
}

fn method(method: &RequestMethod) -> Method {
    match method {
        RequestMethod::DELETE => Method::DELETE,
        RequestMethod::HEAD => Method::HEAD,
        // Vault's own client sends this method.
        RequestMethod::LIST => Method::from_bytes(b"LIST").unwrap_or(Method::GET),
        RequestMethod::PATCH => Method::PATCH,
        RequestMethod::POST => Method::POST,
        RequestMethod::PUT => Method::PUT,
        _ => Method::GET,
    }
}
