//! The SDK's way to the network: handfast's one HTTP client.

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

/// Hands the SDK's requests to the HTTP client, and counts them.
#[derive(Clone)]
pub struct Connector {
    client: Arc<Client>,
    requests: Arc<AtomicU64>,
}

/// The parts of an answer that the SDK drops, and that our errors name.
#[derive(Clone)]
pub struct Told {
    /// Who answered.
    pub peer: String,
    /// How long the server asks to wait (`Retry-After`).
    pub retry_after: Option<Duration>,
}

impl Connector {
    /// A connector that has sent nothing yet.
    pub fn new(client: Arc<Client>) -> Self {
        Self { client, requests: Arc::default() }
    }

    /// How many requests it has sent.
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
            let answer = async { client.send(adapted(request)?).await }.await;
            answer.and_then(answered).map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// The SDK's request as the client takes it.
fn adapted(request: HttpRequest) -> Result<Request, ProviderError> {
    let unfit = || ProviderError::new(ErrorKind::Malformed, "cannot ask AWS: the request cannot be written as HTTP");
    let (parts, body) = request.try_into_http1x().map_err(|_| unfit())?.into_parts();
    let url = Url::parse(&parts.uri.to_string()).map_err(|_| unfit())?;
    let body = SecretValue::from(body.bytes().ok_or_else(unfit)?.to_vec());
    Ok(Request::from_parts(parts.method, url, parts.headers, body))
}

/// The client's answer as the SDK takes it.
fn answered(response: Response) -> Result<HttpResponse, ProviderError> {
    let told = Told { peer: response.peer().to_owned(), retry_after: response.retry_after() };
    let unfit =
        || ProviderError::new(ErrorKind::Malformed, format!("cannot ask {}: the answer is not HTTP", told.peer));
    let (status, headers, body) = response.into_parts();
    // As a stream: of a body that is bytes in memory, the SDK writes every one into its log at TRACE.
    let body = SdkBody::from_body_1_x(Full::new(wiped(body)));
    let mut answer = HttpResponse::new(StatusCode::try_from(status.as_u16()).map_err(|_| unfit())?, body);
    for (name, value) in &headers {
        // No header that is read here has a value that is not text.
        if let Ok(value) = value.to_str() {
            let _ = answer.headers_mut().try_append(name.as_str().to_owned(), value.to_owned());
        }
    }
    answer.add_extension(told);
    Ok(answer)
}
