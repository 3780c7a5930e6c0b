//! One exchange with Vault: an endpoint in, an answer out.
//!
//! The endpoints are vaultrs' where it has them and ours where it has not; the exchange is handfast-http's. vaultrs' own way
//! to send them keeps the whole answer whatever its size, follows redirects with the token, drops the lease, puts answers
//! into its errors and panics on a token with a line break: none of it is used.

mod answer;
pub mod endpoints;
mod stranger;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use handfast_core::{Context, ErrorKind, ProviderError, SecretValue};
use handfast_http::{Client, Method, Options, Request, Response, Url};
use rustify::endpoint::Endpoint;
use rustify::enums::RequestMethod;
use serde::Deserialize;

use crate::explain;

pub use answer::{Answer, Lease, of, read};
pub use stranger::ELSEWHERE;

/// A Vault that answers.
pub struct Api {
    client: RefCell<Rc<Client>>,
    /// The client's options, to make it again when their files have changed.
    options: Options,
    context: Context,
    /// Whether the last connection failed because one side did not trust the other.
    is_doubted: Cell<bool>,
    address: Url,
    namespace: Option<String>,
    requests: Cell<u64>,
}

impl Api {
    /// Talks to `address`.
    pub fn new(
        options: Options,
        context: Context,
        address: Url,
        namespace: Option<String>,
    ) -> Result<Self, ProviderError> {
        let client = RefCell::new(Rc::new(Client::new(options.clone(), &context)?));
        let (is_doubted, requests) = (Cell::new(false), Cell::new(0));
        Ok(Self { client, options, context, is_doubted, address, namespace, requests })
    }

    /// Reads the client certificate again for a new login: it ends earlier than a keeper.
    pub fn show_anew(&self) -> Result<(), ProviderError> {
        if self.options.client_certificate.is_some() { self.renew() } else { Ok(()) }
    }

    fn renew(&self) -> Result<(), ProviderError> {
        let client = Client::new(self.options.clone(), &self.context)?;
        self.client.replace(Rc::new(client));
        self.is_doubted.set(false);
        Ok(())
    }

    /// How many requests there were.
    pub fn requests(&self) -> u64 {
        self.requests.get()
    }

    /// The namespace of every request.
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// Sends one request, whatever its answer's status.
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
        stranger::refuse(&response, self.address.scheme())?;
        match response.status() {
            501 | 503 => self.initialized(response).await,
            _ => Ok(response),
        }
    }

    /// The names below a path. Some of what stands on the way to Vault knows no method LIST: then the question is put once more
    /// as a GET, which Vault takes as the same.
    pub async fn list(&self, path: &str, token: Option<&SecretValue>) -> Result<Response, ProviderError> {
        let endpoint = endpoints::List(path);
        let url = self.url(&endpoint)?;
        let response = self.exchange(Request::new(method(&endpoint.method()), url.clone()), token).await?;
        let refusal = match stranger::refuse(&response, self.address.scheme()) {
            Err(error) => error,
            Ok(()) if response.status() == 501 => response.failure(&format!("cannot list `{path}`")),
            Ok(()) if stranger::blocks(&response) => response.failure(&format!("cannot list `{path}`")),
            Ok(()) if response.status() == 503 => return self.initialized(response).await,
            Ok(()) => return Ok(response),
        };
        let mut by_get = url;
        by_get.set_query(Some("list=true"));
        let response = self.exchange(Request::get(by_get), token).await?;
        match stranger::refuse(&response, self.address.scheme()) {
            Ok(()) if response.status() == 503 => self.initialized(response).await,
            Ok(()) if response.status() != 501 && !stranger::blocks(&response) => Ok(response),
            _ => Err(refusal.hint("let the method LIST, or GET with `?list=true`, through to Vault")),
        }
    }

    async fn exchange(&self, mut request: Request, token: Option<&SecretValue>) -> Result<Response, ProviderError> {
        // What an agent or proxy asks for before it lends its own token: no page of a browser can send it.
        request = request.header("x-vault-request", "true")?;
        if let Some(namespace) = &self.namespace {
            request = request.header("x-vault-namespace", namespace)?;
        }
        if let Some(token) = token {
            request = request.secret_header("x-vault-token", SecretValue::from(token.expose().to_vec()))?;
        }
        self.ask(request.with_standbys()).await
    }

    /// Sends a request. If trust was lacking the last time, reads the certificate and the roots again first.
    async fn ask(&self, request: Request) -> Result<Response, ProviderError> {
        if self.is_doubted.get() {
            self.renew()?;
        }
        self.requests.set(self.requests.get() + 1);
        let client = self.client.borrow().clone();
        let answer = client.send(request).await;
        if answer.as_ref().is_err_and(|error| matches!(error.kind, ErrorKind::Untrusted | ErrorKind::Denied)) {
            self.is_doubted.set(true);
        }
        answer
    }

    /// A Vault that is not initialized says of itself only that it is sealed, or 501, which may also be a proxy's: a question of
    /// its own tells.
    async fn initialized(&self, response: Response) -> Result<Response, ProviderError> {
        let is_sealed = || explain::errors(&response).iter().any(|error| error.contains("Vault is sealed"));
        if response.status() != 501 && !is_sealed() {
            return Ok(response);
        }
        #[derive(Deserialize)]
        struct Status {
            initialized: bool,
        }
        let status = self.ask(Request::get(self.url(&endpoints::SealStatus)?)).await?;
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
        // Some of vaultrs' paths start with a slash, or with a tab. A space at the end is part of a secret's name.
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

/// The library's own text could quote what was to be written.
fn unwritable(_: rustify::errors::ClientError) -> ProviderError {
    ProviderError::new(ErrorKind::Malformed, "the request cannot be written")
}

fn method(method: &RequestMethod) -> Method {
    match method {
        RequestMethod::DELETE => Method::DELETE,
        RequestMethod::HEAD => Method::HEAD,
        // What Vault's own client sends.
        RequestMethod::LIST => Method::from_bytes(b"LIST").unwrap_or(Method::GET),
        RequestMethod::PATCH => Method::PATCH,
        RequestMethod::POST => Method::POST,
        RequestMethod::PUT => Method::PUT,
        _ => Method::GET,
    }
}
