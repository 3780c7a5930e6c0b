//! Connects the SDK to handfast's HTTP client.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use azure_core::http::headers::{Headers, WWW_AUTHENTICATE};
use azure_core::http::{
    AsyncRawResponse, Body, ClientOptions, HttpClient, Method, RetryOptions, StatusCode, Transport,
};
use bytes::Bytes;
use handfast_core::{ErrorKind, ProviderError, SecretValue};
use handfast_http::{Client, HeaderMap, Request, Response, wiped};

/// A client that counts its requests.
#[derive(Clone)]
pub struct Wire {
    client: Arc<Client>,
    requests: Arc<AtomicU64>,
}

impl Wire {
    /// Sends requests with `client`, and counts them in `requests`.
    pub fn new(client: Client, requests: Arc<AtomicU64>) -> Self {
        Self { client: Arc::new(client), requests }
    }

    /// Sends a request of this crate.
    pub async fn send(&self, request: Request) -> Result<Response, ProviderError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.client.send(request).await
    }

    /// Sends a request of the SDK's.
    pub async fn send_sdk(&self, request: &azure_core::http::Request) -> Result<Response, ProviderError> {
        self.send(to_request(request)?).await
    }
}

/// The options of the SDK's clients: they send requests with `http`, and do not retry, because the scheduler does.
pub fn options(http: Arc<dyn HttpClient>) -> ClientOptions {
    ClientOptions { transport: Some(Transport::new(http)), retry: RetryOptions::none(), ..ClientOptions::default() }
}

/// Converts the SDK's request for the client.
fn to_request(request: &azure_core::http::Request) -> Result<Request, ProviderError> {
    let invalid = || ProviderError::new(ErrorKind::Malformed, "the request cannot be written as HTTP");
    let method = match request.method() {
        Method::Get => handfast_http::Method::GET,
        Method::Post => handfast_http::Method::POST,
        _ => return Err(invalid()),
    };
    let mut headers = HeaderMap::new();
    for (name, value) in request.headers().iter() {
        let name = handfast_http::reqwest::header::HeaderName::try_from(name.as_str()).map_err(|_| invalid())?;
        headers.insert(name, value.as_str().try_into().map_err(|_| invalid())?);
    }
    let Body::Bytes(body) = request.body() else { return Err(invalid()) };
    Ok(Request::from_parts(method, request.url().clone(), headers, SecretValue::from(body.to_vec())))
}

/// Converts the client's response for the SDK. It has no headers, because the SDK reads none in a success.
pub fn to_sdk_response(response: Response) -> AsyncRawResponse {
    let status = StatusCode::from(response.status());
    AsyncRawResponse::from_bytes(status, Headers::new(), wiped(response.into_body()))
}

/// A vault's challenge, as a response for the SDK.
pub fn challenge(text: String) -> AsyncRawResponse {
    let mut headers = Headers::new();
    headers.insert(WWW_AUTHENTICATE, text);
    AsyncRawResponse::from_bytes(StatusCode::Unauthorized, headers, Bytes::new())
}

/// Wraps an error of this crate, to pass it through the SDK.
pub fn wrapped<E: std::error::Error + Send + Sync + 'static>(error: E) -> azure_core::Error {
    azure_core::Error::new(azure_core::error::ErrorKind::Other, error)
}

/// The wrapped error of this crate, if the SDK passes one on. The SDK's own errors are not shown, because they quote responses.
pub fn unwrapped<E: std::error::Error + 'static>(error: &azure_core::Error) -> Option<&E> {
    let first: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(first), |error| error.source()).find_map(|error| error.downcast_ref())
}
