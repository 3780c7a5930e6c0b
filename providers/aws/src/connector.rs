//! Connects the SDK to handfast's HTTP client.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use handfast_core::{ErrorKind, ProviderError, SecretValue};
use handfast_http::{Client, Request, Response, Url, wiped};
use http_body_util::Full;

/// Sends the SDK's requests with the HTTP client, and counts them.
#[derive(Clone)]
pub struct Connector {
    client: Arc<Client>,
    requests: Arc<AtomicU64>,
}

/// The parts of a response that the SDK drops, and that handfast's errors need.
#[derive(Clone)]
pub struct ResponseInfo {
    /// The server that responded.
    pub peer: String,
    /// How long the server requires a client to wait (`Retry-After`).
    pub retry_after: Option<Duration>,
}

impl Connector {
    /// A connector with this client.
    pub fn new(client: Arc<Client>) -> Self {
        Self { client, requests: Arc::default() }
    }

    /// The number of requests so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl HttpClient for Connector {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.client.clone();
        self.requests.fetch_add(1, Ordering::Relaxed);
        HttpConnectorFuture::new(async move {
            let response = async { client.send(to_request(request)?).await }.await;
            response.and_then(to_sdk_response).map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// Converts the SDK's request for the client.
fn to_request(request: HttpRequest) -> Result<Request, ProviderError> {
    let invalid = || ProviderError::new(ErrorKind::Malformed, "cannot ask AWS: the request cannot be written as HTTP");
    let (parts, body) = request.try_into_http1x().map_err(|_| invalid())?.into_parts();
    let url = Url::parse(&parts.uri.to_string()).map_err(|_| invalid())?;
    let body = SecretValue::from(body.bytes().ok_or_else(invalid)?.to_vec());
    Ok(Request::from_parts(parts.method, url, parts.headers, body))
}

/// Converts the client's response for the SDK.
fn to_sdk_response(response: Response) -> Result<HttpResponse, ProviderError> {
    let info = ResponseInfo { peer: response.peer().to_owned(), retry_after: response.retry_after() };
    let invalid =
        || ProviderError::new(ErrorKind::Malformed, format!("cannot ask {}: the answer is not HTTP", info.peer));
    let (status, headers, body) = response.into_parts();
    // As a stream, because the SDK logs a body in memory at the level TRACE.
    let body = SdkBody::from_body_1_x(Full::new(wiped(body)));
    let mut converted = HttpResponse::new(StatusCode::try_from(status.as_u16()).map_err(|_| invalid())?, body);
    for (name, value) in &headers {
        // The headers that are read here are all text.
        if let Ok(value) = value.to_str() {
            let _ = converted.headers_mut().try_append(name.as_str().to_owned(), value.to_owned());
        }
    }
    converted.add_extension(info);
    Ok(converted)
}
