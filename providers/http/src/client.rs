//! The client: one connection pool, and one request and response with each call of [`Client::send`].

use std::sync::Arc;

use handfast_core::{Clock, Context, ErrorKind, ProviderError};
use reqwest::header::{HOST, HeaderValue, LOCATION};
use reqwest::{Method, Url, redirect};

use crate::address::{self, origin};
use crate::failure::{Peer, Stage, find};
use crate::one_connection::{OneConnection, Superseded};
use crate::options::Options;
use crate::proxy::{Proxy, Route};
use crate::request::Request;
use crate::resolve::Resolver;
use crate::response::Response;
use crate::server_name::Alias;
use crate::tls;

/// The most redirects that one request follows.
const MOST_REDIRECTS: usize = 5;

/// The HTTP and TLS client of all providers. Threads can share it.
pub struct Client {
    inner: reqwest::Client,
    options: Options,
    route: Route,
    /// The proxies in the environment's variables, if `proxy` is "none". Only for a hint.
    unused_proxies: Route,
    alias: Option<Arc<Alias>>,
    clock: Arc<dyn Clock>,
}

impl Client {
    /// Makes a client. Reads the files that the options name and, if `proxy` is "environment", the variables with a proxy's
    /// address. Opens no connection.
    pub fn new(options: Options, context: &Context) -> Result<Self, ProviderError> {
        let route = Route::new(&options.proxy, &*context.environment)?;
        let unused_proxies = match options.proxy {
            // These variables are not used, so errors in them do not matter.
            Proxy::None => Route::new(&Proxy::Environment, &*context.environment).unwrap_or_default(),
            _ => Route::default(),
        };
        let alias = options.server_name.as_ref().map(Alias::new).transpose()?.flatten().map(Arc::new);
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::configuration(&options, alias.as_deref(), context)?)
            // The library would retry an HTTP/2 stream that the server refused unprocessed, but only the scheduler retries.
            .retry(reqwest::retry::never())
            // Bounds for the memory that a server can make the client use. The library's own bounds are enough for the rest.
            .http2_initial_connection_window_size(1 << 20)
            .http2_initial_stream_window_size(1 << 18)
            .http2_max_frame_size(16 << 10)
            .http2_max_header_list_size(32 << 10)
            // Finds connections that broke without a notice, which would let the next try fail too.
            .http2_keep_alive_interval(options.idle_timeout / 4)
            .http2_keep_alive_timeout(options.idle_timeout / 4)
            // Long enough for musl to try the next name server (5 s), and shorter than the time for the connection.
            .dns_resolver(Resolver { time_limit: options.connect_timeout / 4 * 3, alias: alias.clone() })
            // Otherwise reqwest reads the proxy variables of the process.
            .no_proxy()
            .proxy(route.clone().into_reqwest(alias.clone()))
            .redirect(redirect::Policy::none())
            .referer(false)
            .user_agent(concat!("handfast/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(options.connect_timeout)
            .read_timeout(options.idle_timeout)
            .timeout(options.total_timeout);
        if options.http2 {
            builder = builder.connector_layer(OneConnection::default());
        }
        if let Some(path) = &options.unix_socket {
            builder = builder.unix_socket(path.as_path());
        }
        let inner = builder.build().map_err(|_| ProviderError::new(ErrorKind::Os, "cannot set up the HTTP client"))?;
        Ok(Self { inner, options, route, unused_proxies, alias, clock: context.clock.clone() })
    }

    /// The reqwest client, for an SDK that sends its own requests. It uses the same trusted certificates, proxy, name look-up and
    /// time limits, and follows no redirects. The SDK's adapter must do the rest of [`send`](Client::send) itself: limit the size
    /// of the response, refuse unencrypted addresses ([`Address::parse`](crate::Address::parse)), and keep URLs out of errors.
    pub fn inner(&self) -> &reqwest::Client {
        &self.inner
    }

    /// Sends a request and reads the whole response, whatever its status.
    ///
    /// A redirect of a `GET` or `LIST` within the same origin (scheme, host and port) is followed, five times at most. A redirect
    /// to another origin is [`Untrusted`](ErrorKind::Untrusted): the user has not allowed to send the credential there.
    pub async fn send(&self, request: Request) -> Result<Response, ProviderError> {
        let peer = self.peer(&request.url);
        if self.options.unix_socket.is_none() {
            address::allow(&request.url, self.options.plaintext)
                .map_err(|why| peer.failure(ErrorKind::Untrusted, &why))?;
        }
        if let Some(why) = self.route.unreachable(&request.url).filter(|_| self.options.unix_socket.is_none()) {
            return Err(why.into_error(ErrorKind::Malformed));
        }
        if !request.url.username().is_empty() || request.url.password().is_some() {
            return Err(peer.failure(ErrorKind::Malformed, "its URL has a user name or a password in it"));
        }
        tokio::time::timeout(self.options.total_timeout, self.exchange(&request, &peer))
            .await
            .unwrap_or_else(|_| Err(peer.too_slow()))
    }

    async fn exchange(&self, request: &Request, peer: &Peer<'_>) -> Result<Response, ProviderError> {
        let mut url = request.url.clone();
        for _ in 0..=MOST_REDIRECTS {
            let answer = loop {
                let mut hop = request.to_reqwest(url.clone());
                self.rename(&mut hop);
                // A single request must not time out before `send`, whose time limit covers all redirects and whose error says
                // so.
                *hop.timeout_mut() = Some(self.options.total_timeout.saturating_mul(2));
                match self.inner.execute(hop).await {
                    Err(error) if find::<Superseded>(&error).is_some() => {}
                    result => break result.map_err(|error| peer.explain(&error, Stage::Head))?,
                }
            };
            match redirected(&answer, request, &url, peer)? {
                Some(next) => url = next,
                None => return Response::read(answer, &request.method, peer, self.clock.now()).await,
            }
        }
        Err(peer.failure(ErrorKind::Malformed, &format!("it redirects more than {MOST_REDIRECTS} times")))
    }

    /// Replaces a request's host by the name that its certificate must be for, if that is another name.
    fn rename(&self, hop: &mut reqwest::Request) {
        let Some(renamed) = self.alias.as_ref().and_then(|alias| alias.rename(hop.url())) else { return };
        if self.options.unix_socket.is_some() || self.route.via(hop.url()).is_some() {
            return;
        }
        let host = hop.url().host_str().unwrap_or_default();
        let host = hop.url().port().map_or(host.to_owned(), |port| format!("{host}:{port}"));
        if let Ok(host) = HeaderValue::try_from(host) {
            hop.headers_mut().insert(HOST, host);
            *hop.url_mut() = renamed;
        }
    }

    fn peer(&self, url: &Url) -> Peer<'_> {
        let (name, proxy) = match &self.options.unix_socket {
            Some(path) => (format!("unix://{}", path.display()), None),
            None => (origin(url), self.route.via(url).map(|proxy| format!("{proxy:?}"))),
        };
        let has_unused_proxy = self.options.unix_socket.is_none() && self.unused_proxies.via(url).is_some();
        Peer { name, proxy, has_unused_proxy, options: &self.options }
    }
}

/// The URL that a response redirects to, if it is a redirect; an error if the redirect must not be followed.
fn redirected(
    answer: &reqwest::Response,
    request: &Request,
    url: &Url,
    peer: &Peer<'_>,
) -> Result<Option<Url>, ProviderError> {
    if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let Some(mut next) = location.and_then(|location| url.join(location).ok()) else {
        return Err(peer.failure(ErrorKind::Malformed, "it redirects to nowhere"));
    };
    if next.origin() != url.origin() {
        let same = next.path() == url.path() && next.query() == url.query();
        if request.standby_redirects && answer.status().as_u16() == 307 && same {
            let why = format!("it is a standby, and redirects to {}, which is not followed", origin(&next));
            return Err(peer.failure(ErrorKind::Unavailable, &why).hint(
                "credentials go to the configured address alone: configure one that leads to the active server",
            ));
        }
        let why = format!("it redirects to another origin, {}, which is not followed", origin(&next));
        return Err(peer.failure(ErrorKind::Untrusted, &why).hint("if that is the right address, configure it"));
    }
    // `LIST` is Vault's own method to read names.
    if request.method != Method::GET && request.method.as_str() != "LIST" {
        return Err(peer.failure(ErrorKind::Malformed, &format!("it redirects a {}", request.method)));
    }
    // reqwest would send a user name and a password in the URL as credentials.
    if next.set_username("").and_then(|()| next.set_password(None)).is_err() {
        return Err(peer.failure(ErrorKind::Malformed, "it redirects to nowhere"));
    }
    Ok(Some(next))
}
